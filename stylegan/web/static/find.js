// Faces by attributes, how rare they are, and what the network's faces are like.
import { address, json, network } from "/static/api.js";
import { element, latest } from "/static/parts.js";

export async function find(view) {
  const about = await network();
  view.append(element("h1", {}, "Find faces"));
  if (!about.attributes.length) {
    view.append(element("p", {}, "Nothing reads attributes of this network's pictures: it was not trained on faces3d."));
    return {};
  }
  const wanted = {};
  const said = element("p", { class: "caption", role: "status" });
  const faces = element("ul", { class: "faces", id: "found" });
  const bars = element("div", { id: "bars" });
  const ask = latest(async () => {
    const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    if (!query.size) {
      said.textContent = "Choose what they should be like.";
      faces.replaceChildren();
      return;
    }
    const found = await json(`/api/v1/find?${query}`);
    const share = found.tried ? ` (${((100 * found.accepted) / found.tried).toFixed(1)} %)` : "";
    said.textContent = `${found.accepted} of ${found.tried} faces are so${share}.`;
    faces.replaceChildren(...found.seeds.map((seed) => element("li", { class: "face" }, element("a", { href: address({ seeds: [seed] }, "/") },
      element("img", { src: address({ seeds: [seed] }), alt: `Face of seed ${seed}`, loading: "lazy" }), String(seed)))));
  });
  const form = element("fieldset", {}, element("legend", {}, "Attributes"), ...about.attributes.map((attribute) => {
    const choices = attribute.values ?? (attribute.name === "sex" ? ["female", "male"] : null);
    const options = choices
      ? choices.map((value) => [value, value])
      : [["lower third", `-${third(attribute, 1)}`], ["middle", `${third(attribute, 1)}-${third(attribute, 2)}`], ["upper third", `${third(attribute, 2)}-`]];
    const usable = choices || attribute.low >= 0;
    return usable ? element("label", { class: "choice" }, attribute.name.replace("_", " "), element("select", {
      "data-attribute": attribute.name, onchange: (event) => { wanted[attribute.name] = event.target.value; ask(); },
    }, element("option", { value: "" }, "any"), ...options.map(([text, value]) => element("option", { value }, `${text}${choices ? "" : ` (${value})`}`)))) : "";
  }));
  view.append(element("div", { class: "wide" }, element("div", {}, said, faces), element("div", {}, form, element("h2", {}, "All faces of this network"), bars)));
  await ask();
  const told = await json("/api/v1/distribution");
  bars.append(element("p", { class: "caption" }, `Of ${told.faces} faces`), ...Object.entries(told.attributes).map(([name, entry]) => {
    const counts = Array.isArray(entry.counts)
      ? entry.counts.map((n, i) => [`${(entry.low + ((entry.high - entry.low) * i) / entry.counts.length).toFixed(entry.high > 2 ? 0 : 2)}`, n])
      : Object.entries(entry.counts);
    const most = Math.max(1, ...counts.map(([, n]) => n));
    return element("details", {}, element("summary", {}, name.replace("_", " ")), element("div", { class: "bars" }, ...counts.map(([label, n]) => {
      const bar = element("i", {});
      bar.style.width = `${(100 * n) / most}%`;
      return element("div", { class: "bar" }, element("span", {}, label), bar, element("span", {}, String(n)));
    })));
  }));
  return {};
}

function third(attribute, which) {
  const value = attribute.low + ((attribute.high - attribute.low) * which) / 3;
  return attribute.high > 2 ? Math.round(value) : value.toFixed(2);
}
