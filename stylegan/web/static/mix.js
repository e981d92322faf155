// Parents, weights, layers and directions: a child of several faces, which follows the sliders.
import { address, network, picture, recipeOf } from "/static/api.js";
import { keep, kept } from "/static/shelf.js";
import { element, latest, save, say, show, slider } from "/static/parts.js";

const anySeed = () => Math.floor(Math.random() * 2 ** 31);

export async function mix(view) {
  const about = await network();
  let recipe = recipeOf(new URLSearchParams(location.search));
  if (!recipe.seeds.length) {
    const shelf = kept().slice(0, 2).map((face) => face.recipe.seeds[0]);
    recipe.seeds = shelf.length === 2 ? shelf : [anySeed(), anySeed()];
  }
  if (!recipe.weights.length) recipe.weights = recipe.seeds.map(() => 1);
  if (about.classes.length && recipe.class_idx == null) recipe.class_idx = 0;
  const image = element("img", { class: "portrait", alt: "A face is being made" });
  const caption = element("p", { class: "caption" });
  const parents = element("fieldset", { id: "parents" });
  const sides = element("div", {});
  view.append(element("h1", {}, "Mix faces"), element("div", { class: "wide" }, element("figure", {}, image, caption), sides));

  const ask = latest(async () => {
    const where = address(recipe, "/mix");
    const found = await picture(address(recipe));
    show(image, found);
    caption.textContent = `${found.words}.`;
    if (address(recipe, "/mix") === where) history.replaceState(null, "", where);
  });

  function drawParents() {
    parents.replaceChildren(element("legend", {}, "Parents"), ...recipe.seeds.map((seed, i) => element("div", {},
      element("div", { class: "parent" },
        element("label", {}, element("span", {}, "Seed"), element("input", {
          type: "number", min: 0, max: 2 ** 32 - 1, value: seed, "data-parent": i,
          onchange: (event) => { recipe.seeds[i] = Math.max(0, Math.min(2 ** 32 - 1, Math.round(Number(event.target.value) || 0))); drawParents(); ask(); },
        })),
        element("img", { src: address({ seeds: [seed], psi: recipe.psi, class_idx: recipe.class_idx }), alt: `Parent ${seed}`, width: 56, height: 56 }),
        element("button", { type: "button", disabled: recipe.seeds.length < 2, "aria-label": `Remove parent ${seed}`,
          onclick: () => { remove(i); } }, "×")),
      slider(`Weight ${i + 1}`, { min: 0, max: 2, step: 0.05, value: recipe.weights[i] }, (value) => { recipe.weights[i] = value; if (recipe.weights.some(Boolean)) ask(); }),
    )), element("div", { class: "row" },
      element("button", { type: "button", id: "add", disabled: recipe.seeds.length >= 8, onclick: () => { recipe.seeds.push(anySeed()); recipe.weights.push(1); drawParents(); drawParts(); ask(); } }, "Add a parent")));
  }

  function remove(i) {
    recipe.seeds.splice(i, 1);
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
    }, element("option", { value: "" }, "all, by weight"), ...recipe.seeds.map((seed, i) => element("option", { value: i, selected: recipe[part] === i }, `parent ${i + 1}`))))));
  }

  const walks = element("fieldset", { id: "walks" }, element("legend", {}, "Walks"), ...about.directions.map((name) =>
    slider(name, { min: -6, max: 6, step: 0.25, value: recipe.moves[name] ?? 0 }, (value) => { recipe.moves[name] = value; ask(); })));
  walks.hidden = !about.directions.length;
  drawParents();
  drawParts();
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
  sides.append(parents, parts, walks, clips, element("div", { class: "row" },
    element("button", { type: "button", class: "first", onclick: actions.next }, "Other parents"),
    element("button", { type: "button", onclick: actions.keep }, "Keep"),
    element("button", { type: "button", onclick: actions.save }, "Save as PNG")));
  await ask();
  return actions;
}
