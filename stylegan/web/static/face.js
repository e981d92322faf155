// The first page: a new face at every reload.
import { address, network, picture, recipeOf } from "/static/api.js";
import { keep } from "/static/shelf.js";
import { element, latest, save, say, show, slider } from "/static/parts.js";

export async function face(view) {
  const image = element("img", { class: "portrait", alt: "A face is being made" });
  const caption = element("p", { class: "caption" });
  const controls = element("div", { class: "stage" });
  let recipe = recipeOf(new URLSearchParams(location.search));
  view.append(
    element("h1", { class: "caption" }, "This person does not exist"),
    element("div", { class: "stage" }, element("figure", {}, image, caption), controls),
  );

  const ask = latest(async () => {
    const wish = { ...recipe };
    const found = await picture(address(wish));
    show(image, found);
    if (address(recipe, "/") === address(wish, "/")) history.replaceState(null, "", address(wish, "/")); // nobody went on meanwhile
    caption.textContent = `${found.words}. Seed ${found.seeds[0]}.`;
  });

  async function fresh({ remember = true } = {}) {
    const query = { ...recipe, seeds: [] };
    delete query.noise;
    const path = address({ ...query, x: 0, y: 0, rotate: 0 });
    const found = await picture(path);
    recipe = { ...recipe, seeds: found.seeds, class_idx: found.class_idx, noise: null };
    show(image, found);
    caption.textContent = `${found.words}. Seed ${found.seeds[0]}.`;
    const where = address(recipe, "/");
    if (remember) history.pushState(null, "", where);
    else history.replaceState(null, "", where);
    if (recipe.x || recipe.y || recipe.rotate) await ask();
  }

  const next = latest(fresh);
  const known = network();
  if (recipe.seeds.length) await ask();
  else await next({ remember: false });
  const about = await known;

  const changed = (name) => (value) => {
    recipe[name] = value;
    ask();
  };
  const actions = {
    next: () => next(),
    keep: () => say(keep(recipe, caption.textContent) ? "Kept on the shelf." : "This face is on the shelf already."),
    save: async () => save((await picture(address(recipe), "image/png")).blob, `face-${recipe.seeds[0]}.png`),
  };
  const sliders = [];
  if (about.truncation) sliders.push(slider("Truncation", { min: 0, max: 1.2, step: 0.05, value: recipe.psi ?? about.psi }, changed("psi")));
  if (about.noise) sliders.push(slider("Noise", { min: 0, max: 50, step: 1, value: recipe.noise ?? 0 }, changed("noise")));
  if (about.moves) {
    sliders.push(slider("Right", { min: -0.5, max: 0.5, step: 0.01, value: recipe.x }, changed("x")));
    sliders.push(slider("Down", { min: -0.5, max: 0.5, step: 0.01, value: recipe.y }, changed("y")));
    sliders.push(slider("Turn", { min: -180, max: 180, step: 1, value: recipe.rotate, shown: (v) => `${v}°` }, changed("rotate")));
  }
  const classes = about.classes.length
    ? [element("label", {}, "Class ", element("select", { onchange: (event) => changed("class_idx")(Number(event.target.value)) },
      ...about.classes.map((name, i) => element("option", { value: i, selected: i === recipe.class_idx }, name))))]
    : [];
  controls.append(
    element("div", { class: "row" },
      element("button", { type: "button", class: "first", id: "next", onclick: actions.next }, "Someone new"),
      element("button", { type: "button", onclick: actions.keep }, "Keep"),
      element("button", { type: "button", id: "save", onclick: actions.save }, "Save as PNG"),
      ...classes),
    ...sliders,
  );
  window.addEventListener("popstate", () => {
    recipe = recipeOf(new URLSearchParams(location.search));
    if (location.pathname === "/" && recipe.seeds.length) ask();
  });
  return actions;
}
