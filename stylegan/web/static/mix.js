// Parents, weights, layers and directions: a child of several faces, which follows the sliders.
import { address, network, picture, recipeOf, upload } from "/static/api.js";
import { keep, kept } from "/static/shelf.js";
import { element, latest, save, say, show, slider } from "/static/parts.js";

const anySeed = () => Math.floor(Math.random() * 2 ** 31);

export async function mix(view) {
  const about = await network();
  let recipe = recipeOf(new URLSearchParams(location.search));
  const count = () => recipe.seeds.length + recipe.uploads.length;
  if (!count()) {
    const shelf = kept().slice(0, 2).map((face) => face.recipe.seeds[0]);
    recipe.seeds = shelf.length === 2 ? shelf : [anySeed(), anySeed()];
  }
  if (!recipe.weights.length) recipe.weights = Array(count()).fill(1);
  if (about.classes.length && recipe.class_idx == null) recipe.class_idx = 0;
  const image = element("img", { class: "portrait", alt: "A face is being made" });
  const caption = element("p", { class: "caption" });
  const marks = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  marks.setAttribute("viewBox", "0 0 1 1");
  marks.setAttribute("preserveAspectRatio", "none");
  marks.setAttribute("aria-hidden", "true");
  const parents = element("fieldset", { id: "parents" });
  const sides = element("div", {});
  view.append(element("h1", {}, "Mix faces"), element("div", { class: "wide" }, element("figure", {}, element("div", { class: "canvas" }, image, marks), caption), sides));

  const ask = latest(async () => {
    const where = address(recipe, "/mix");
    const found = await picture(address(recipe));
    show(image, found);
    caption.textContent = `${found.words}.`;
    if (address(recipe, "/mix") === where) history.replaceState(null, "", where);
  });

  function drawParents() {
    const alone = count() < 2;
    const weight = (i) => slider(`Weight ${i + 1}`, { min: 0, max: 2, step: 0.05, value: recipe.weights[i] }, (value) => {
      recipe.weights[i] = value;
      if (recipe.weights.some(Boolean)) ask();
    });
    const looks = { psi: recipe.psi, class_idx: recipe.class_idx };
    const row = (i, words, source, name) => element("div", {},
      element("div", { class: "parent" }, words,
        element("img", { src: address({ ...looks, ...source }), alt: name, width: 56, height: 56 }),
        element("button", { type: "button", disabled: alone, "aria-label": `Remove ${name}`, onclick: () => remove(i) }, "×")),
      weight(i));
    const seeds = recipe.seeds.map((seed, i) => row(i, element("label", {}, element("span", {}, "Seed"), element("input", {
      type: "number", min: 0, max: 2 ** 32 - 1, value: seed, "data-parent": i,
      onchange: (event) => {
        recipe.seeds[i] = Math.max(0, Math.min(2 ** 32 - 1, Math.round(Number(event.target.value) || 0)));
        drawParents();
        ask();
      },
    })), { seeds: [seed] }, `parent ${seed}`));
    const sent = recipe.uploads.map((name, i) => row(recipe.seeds.length + i, element("span", {}, `Photograph ${i + 1}`), { seeds: [], uploads: [name] }, `photograph ${i + 1}`));
    parents.replaceChildren(element("legend", {}, "Parents"), ...seeds, ...sent, element("div", { class: "row" },
      element("button", { type: "button", id: "add", disabled: count() >= 8, onclick: add }, "Add a parent")));
  }

  function add() {
    recipe.weights.splice(recipe.seeds.length, 0, 1);
    recipe.seeds.push(anySeed());
    for (const part of about.parts) recipe[part] = null;
    drawParents();
    drawParts();
    ask();
  }

  function remove(i) {
    if (i < recipe.seeds.length) recipe.seeds.splice(i, 1);
    else recipe.uploads.splice(i - recipe.seeds.length, 1);
    recipe.weights.splice(i, 1);
    for (const part of about.parts) recipe[part] = null;
    drawParents();
    drawParts();
    ask();
  }

  const parts = element("fieldset", { id: "parts" });
  function drawParts() {
    parts.hidden = !about.parts.length;
    parts.replaceChildren(element("legend", {}, "Layers from one parent"), ...about.parts.map((part) => element("label", { class: "choice" }, part, element("select", {
      "data-part": part,
      onchange: (event) => { recipe[part] = event.target.value === "" ? null : Number(event.target.value); ask(); },
    }, element("option", { value: "" }, "all, by weight"), ...Array.from({ length: count() }, (_, i) => element("option", { value: i, selected: recipe[part] === i }, `parent ${i + 1}`))))));
  }

  const walks = element("fieldset", { id: "walks" }, element("legend", {}, "Walks"), ...about.directions.map((name) =>
    slider(name, { min: -6, max: 6, step: 0.25, value: recipe.moves[name] ?? 0 }, (value) => { recipe.moves[name] = value; ask(); })));
  const points = element("fieldset", { id: "points" });
  const place = (value) => Math.min(1, Math.max(0, Math.round(value * 1000) / 1000));
  function drawMarks(drags) {
    marks.replaceChildren(...drags.map((drag) => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [name, value] of [["x1", drag.x], ["y1", drag.y], ["x2", drag.to_x], ["y2", drag.to_y]]) line.setAttribute(name, value);
      return line;
    }));
  }
  function drawPoints() {
    points.hidden = !about.drags;
    const names = [["x", "from the left"], ["y", "from above"], ["to_x", "to the left"], ["to_y", "to above"]];
    points.replaceChildren(element("legend", {}, "Points to drag"), element("p", {}, "Pull the picture, or write percents of its sides."),
      ...recipe.drags.map((drag, i) => element("div", { class: "point" },
        ...names.map(([key, words]) => element("input", { type: "number", min: 0, max: 100, step: 0.1, value: +(100 * drag[key]).toFixed(1),
          "aria-label": `Point ${i + 1}, percent ${words}`, "data-drag": `${i}-${key}`,
          onchange: (event) => { drag[key] = place(Number(event.target.value) / 100); drawMarks(recipe.drags); pull(); } })),
        element("button", { type: "button", "aria-label": `Remove point ${i + 1}`, onclick: () => { recipe.drags.splice(i, 1); drawPoints(); pull(); } }, "×"))),
      element("div", { class: "row" }, element("button", { type: "button", id: "point", disabled: recipe.drags.length >= 8,
        onclick: () => { recipe.drags.push({ x: 0.5, y: 0.6, to_x: 0.5, to_y: 0.6 }); drawPoints(); } }, "Add a point")));
    drawMarks(recipe.drags);
  }
  function pull() {
    if (recipe.drags.length) say("The points are being dragged; this takes some seconds.");
    ask();
  }
  let pulled = null;
  const at = (event) => {
    const box = image.getBoundingClientRect();
    return [place((event.clientX - box.left) / box.width), place((event.clientY - box.top) / box.height)];
  };
  image.draggable = false;
  image.addEventListener("pointerdown", (event) => {
    if (!about.drags || recipe.drags.length >= 8) return;
    const [x, y] = at(event);
    pulled = { x, y, to_x: x, to_y: y };
    image.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  image.addEventListener("pointermove", (event) => {
    if (!pulled) return;
    [pulled.to_x, pulled.to_y] = at(event);
    drawMarks([...recipe.drags, pulled]);
  });
  image.addEventListener("pointerup", () => {
    const drag = pulled;
    pulled = null;
    if (!drag || Math.hypot(drag.to_x - drag.x, drag.to_y - drag.y) < 0.01) return drawMarks(recipe.drags);
    recipe.drags.push(drag);
    drawPoints();
    pull();
  });
  const photographs = element("fieldset", { id: "photographs", hidden: !about.uploads });
  const progress = element("progress", { max: 1, value: 0, "aria-label": "How far the search is", hidden: true });
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const file = element("input", { type: "file", id: "photograph", accept: "image/jpeg,image/png,image/webp", onchange: send });
  photographs.append(element("legend", {}, "A photograph"),
    element("p", {}, "A photograph of a face, cropped as those that the network knows, is looked for in the network. The server keeps no file of it."),
    element("div", { class: "row" }, element("label", { class: "button" }, "Send one", file), progress, stop));
  async function send() {
    const [chosen] = file.files;
    if (!chosen || count() >= 8) return;
    const control = new AbortController();
    stop.onclick = () => control.abort();
    progress.hidden = stop.hidden = false;
    try {
      const name = await upload(chosen, recipe.class_idx, (now) => { progress.value = now.step / now.steps; }, control.signal);
      recipe.uploads.push(name);
      recipe.weights.push(1);
      drawParents();
      drawParts();
      ask();
    } catch (error) {
      say(error.message);
    }
    progress.hidden = stop.hidden = true;
    file.value = "";
  }
  walks.hidden = !about.directions.length;
  drawParents();
  drawParts();
  drawPoints();
  const actions = {
    next: () => { recipe.seeds = recipe.seeds.map(anySeed); drawParents(); ask(); },
    keep: () => say(keep(recipe, caption.textContent) ? "Kept on the shelf." : "This face is on the shelf already."),
    save: async () => save((await picture(address(recipe), "image/png")).blob, "child.png"),
  };
  const moving = element("img", { class: "portrait", alt: "A loop through the faces of the shelf", hidden: true, id: "loop" });
  async function animate(event) {
    const button = event.currentTarget;
    const faces = kept().slice(0, 8).map((face) => face.recipe);
    if (faces.length < 2) return say("Keep two faces on the shelf first.");
    button.disabled = true;
    say("The clip is being made.");
    try {
      const type = format.value;
      const found = await picture("/api/v1/animation", type, { faces });
      if (type === "image/webp") {
        moving.hidden = false;
        show(moving, { blob: found.blob, words: `A loop through ${faces.length} faces of the shelf` });
      }
      save(found.blob, type === "image/webp" ? "walk.webp" : "walk.mp4");
    } catch (error) {
      say(error.message);
    } finally {
      button.disabled = false;
    }
  }
  const format = element("select", { id: "format" }, ...about.clips.map((type) => element("option", { value: type }, type === "image/webp" ? "WebP" : "MP4")));
  const clips = element("fieldset", { id: "clips" }, element("legend", {}, "From face to face of the shelf"), element("div", { class: "row" },
    element("label", {}, "Format ", format), element("button", { type: "button", id: "animate", onclick: animate }, "Make a clip")), moving);
  sides.append(parents, parts, walks, points, photographs, clips, element("div", { class: "row" },
    element("button", { type: "button", class: "first", onclick: actions.next }, "Other parents"),
    element("button", { type: "button", onclick: actions.keep }, "Keep"),
    element("button", { type: "button", onclick: actions.save }, "Save as PNG")));
  await ask();
  return actions;
}
