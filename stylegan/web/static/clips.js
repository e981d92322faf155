// A clip: a loop through the faces of the shelf.
import { picture } from "/static/api.js";
import { kept } from "/static/shelf.js";
import { element, save, say, show } from "/static/parts.js";

const NAMES = { "image/webp": ["WebP", "walk.webp"], "video/mp4": ["MP4", "walk.mp4"] };

export function clips(types) {
  const words = "A loop through the faces of the shelf";
  const moving = element("img", { class: "portrait", alt: words, hidden: true, id: "loop" });
  const options = types.map((type) => element("option", { value: type }, NAMES[type][0]));
  const format = element("select", { id: "format" }, ...options);

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
      save(found.blob, NAMES[type][1]);
    } catch (error) {
      say(error.message);
    } finally {
      button.disabled = false;
    }
  }

  return element("fieldset", { id: "clips" },
    element("legend", {}, "From face to face of the shelf"),
    element("div", { class: "row" },
      element("label", {}, "Format ", format),
      element("button", { type: "button", id: "animate", onclick: animate }, "Make a clip")),
    moving);
}
