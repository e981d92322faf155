// Small pieces that several pages are made of.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The same for pictures that are lines.
export function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function slider(name, { min, max, step, value, shown = (v) => v }, changed) {
  const output = element("output", {}, String(shown(value)));
  const input = element("input", { type: "range", min, max, step, value, "data-name": name });
  input.addEventListener("input", () => {
    output.textContent = shown(Number(input.value));
    changed(Number(input.value));
  });
  return element("label", { class: "slider" }, element("span", {}, name), input, output);
}

export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 4000);
}

// One picture at a time: while one is made, only the newest wish waits.
export function latest(work) {
  let running = false;
  let next = null;
  return async function ask(...wish) {
    next = wish;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        try {
          await work(...now);
        } catch (error) {
          say(error.message);
        }
      }
    } finally {
      running = false;
    }
  };
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function show(image, found) {
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(found.blob);
  image.alt = found.words;
}
