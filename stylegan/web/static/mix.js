// Parents, weights, layers and directions: a child of several faces, which follows the sliders.
import { address, network, picture, recipeOf } from "/static/api.js";
import { clips } from "/static/clips.js";
import { photographs } from "/static/photographs.js";
import { points } from "/static/points.js";
import { keep, kept } from "/static/shelf.js";
import { element, latest, save, say, show, slider } from "/static/parts.js";
import { MOST_PARENTS } from "/static/recipes.js";
import { thumbnail } from "/static/thumbnail.js";

const SHOWN = 9; // walks, the best known first
const anySeed = () => Math.floor(Math.random() * 2 ** 31);

export async function mix(view) {
  const about = await network();
  const recipe = recipeOf(new URLSearchParams(location.search));
  const count = () => recipe.seeds.length + recipe.uploads.length;
  if (!count()) {
    const shelf = kept().flatMap((face) => face.recipe.seeds.slice(0, 1)).slice(0, 2);
    recipe.seeds = shelf.length === 2 ? shelf : [anySeed(), anySeed()];
  }
  if (!recipe.weights.length) recipe.weights = Array(count()).fill(1);
  if (about.classes.length && recipe.class_idx == null) recipe.class_idx = 0;

  const image = element("img", { class: "portrait", alt: "A face is being made" });
  const caption = element("p", { class: "caption" });
  const ask = latest(async () => {
    const where = address(recipe, "/mix");
    const found = await picture(address(recipe));
    show(image, found);
    caption.textContent = `${found.words}.`;
    if (address(recipe, "/mix") === where) history.replaceState(null, "", where);
  });

  const parents = element("fieldset", { id: "parents" });
  function drawParents() {
    const seeds = recipe.seeds.map((seed, i) => parent(i, seedField(seed, i), { seeds: [seed] }, `parent ${seed}`));
    const sent = recipe.uploads.map((name, i) => parent(recipe.seeds.length + i,
      element("span", {}, `Photograph ${i + 1}`), { seeds: [], uploads: [name] }, `photograph ${i + 1}`));
    parents.replaceChildren(element("legend", {}, "Parents"), ...seeds, ...sent, element("div", { class: "row" },
      element("button", { type: "button", id: "add", disabled: count() >= MOST_PARENTS, onclick: add }, "Add a parent")));
  }

  function parent(i, words, source, name) {
    const looks = { psi: recipe.psi, class_idx: recipe.class_idx };
    const weight = slider(`Weight ${i + 1}`, { min: 0, max: 2, step: 0.05, value: recipe.weights[i] }, (value) => {
      recipe.weights[i] = value;
      if (recipe.weights.some(Boolean)) ask();
    });
    const away = { type: "button", disabled: count() < 2, "aria-label": `Remove ${name}`, onclick: () => remove(i) };
    return element("div", {},
      element("div", { class: "parent" }, words,
        thumbnail({ ...looks, ...source }, name, { width: 56, height: 56 }),
        element("button", away, "×")),
      weight);
  }

  function seedField(seed, i) {
    const changed = (event) => {
      recipe.seeds[i] = Math.max(0, Math.min(2 ** 32 - 1, Math.round(Number(event.target.value) || 0)));
      drawParents();
      ask();
    };
    const field = { type: "number", min: 0, max: 2 ** 32 - 1, value: seed, "data-parent": i, onchange: changed };
    return element("label", {}, element("span", {}, "Seed"), element("input", field));
  }

  function others() {
    drawParents();
    drawParts();
    ask();
  }

  function add() {
    recipe.weights.splice(recipe.seeds.length, 0, 1);
    recipe.seeds.push(anySeed());
    for (const part of about.parts) recipe[part] = null;
    others();
  }

  function remove(i) {
    if (i < recipe.seeds.length) recipe.seeds.splice(i, 1);
    else recipe.uploads.splice(i - recipe.seeds.length, 1);
    recipe.weights.splice(i, 1);
    for (const part of about.parts) recipe[part] = null;
    others();
  }

  const parts = element("fieldset", { id: "parts", hidden: !about.parts.length });
  function drawParts() {
    const choice = (part) => {
      const chosen = (event) => {
        recipe[part] = event.target.value === "" ? null : Number(event.target.value);
        ask();
      };
      return element("label", { class: "choice" }, part, element("select", { "data-part": part, onchange: chosen },
        element("option", { value: "" }, "all, by weight"),
        ...Array.from({ length: count() }, (_, i) =>
          element("option", { value: i, selected: recipe[part] === i }, `parent ${i + 1}`))));
    };
    parts.replaceChildren(element("legend", {}, "Layers from one parent"), ...about.parts.map(choice));
  }

  const sliders = about.directions.map((name) =>
    slider(name, { min: -6, max: 6, step: 0.25, value: recipe.moves[name] ?? 0 }, (value) => {
      recipe.moves[name] = value;
      ask();
    }));
  const rest = element("details", { hidden: sliders.length <= SHOWN }, element("summary", {}, "More"), ...sliders.slice(SHOWN));
  const walks = element("fieldset", { id: "walks", hidden: !sliders.length },
    element("legend", {}, "Walks"), ...sliders.slice(0, SHOWN), rest);

  const pulled = points(about.drags, recipe.drags, image, () => {
    if (recipe.drags.length) say("The points are being dragged; this takes some seconds.");
    ask();
  });

  const sent = photographs(about.uploads, recipe.class_idx, () => count() < MOST_PARENTS, (name) => {
    recipe.uploads.push(name);
    recipe.weights.push(1);
    others();
  });

  const actions = {
    next: () => {
      recipe.seeds = recipe.seeds.map(anySeed);
      drawParents();
      ask();
    },
    keep: () => say(keep(recipe, caption.textContent) ? "Kept on the shelf." : "This face is on the shelf already."),
    save: async () => save((await picture(address(recipe), "image/png")).blob, "child.png"),
  };

  drawParents();
  drawParts();
  view.append(
    element("h1", {}, "Mix faces"),
    element("div", { class: "wide" },
      element("figure", {}, element("div", { class: "canvas" }, image, pulled.marks), caption),
      element("div", {}, parents, parts, walks, pulled.fields, sent, clips(about.clips),
        element("div", { class: "row" },
          element("button", { type: "button", class: "first", onclick: actions.next }, "Other parents"),
          element("button", { type: "button", onclick: actions.keep }, "Keep"),
          element("button", { type: "button", onclick: actions.save }, "Save as PNG")))));
  await ask();
  return actions;
}
