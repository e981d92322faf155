// A photograph is sent, and looked for in the network.
import { upload } from "/static/api.js";
import { element, say } from "/static/parts.js";

// `free` tells whether there is room for one, `found` gets its name.
export function photographs(usable, class_idx, free, found) {
  const progress = element("progress", { max: 1, value: 0, "aria-label": "How far the search is", hidden: true });
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const kinds = "image/jpeg,image/png,image/webp";
  const file = element("input", { type: "file", id: "photograph", accept: kinds, onchange: send });
  const tune = element("input", { type: "checkbox", id: "tune" });

  async function send() {
    const [chosen] = file.files;
    if (!chosen || !free()) return;
    const control = new AbortController();
    stop.onclick = () => control.abort();
    progress.hidden = stop.hidden = false;
    try {
      const how = { class_idx, tune: tune.checked };
      found(await upload(chosen, how, (now) => { progress.value = now.step / now.steps; }, control.signal));
    } catch (error) {
      say(error.message);
    }
    progress.hidden = stop.hidden = true;
    file.value = "";
  }

  return element("fieldset", { id: "photographs", hidden: !usable },
    element("legend", {}, "A photograph"),
    element("p", {}, "A photograph of a face, cropped as those that the network knows, is looked for in the network. "
      + "The server keeps no file of it."),
    element("label", {}, tune, " Tune a copy of the network to it, too: nearer, and slower."),
    element("div", { class: "row" }, element("label", { class: "button" }, "Send one", file), progress, stop));
}
