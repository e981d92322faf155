// Points to drag: by the pointer on the picture, or as percents of its sides.
import { drawing, element } from "/static/parts.js";

const MOST = 8;
const FIELDS = [["x", "from the left"], ["y", "from above"], ["to_x", "to the left"], ["to_y", "to above"]];
const place = (value) => Math.min(1, Math.max(0, Math.round(value * 1000) / 1000));

// `drags` is changed in place; `changed` hears of it. What comes back lies on the picture, and beside it.
export function points(usable, drags, image, changed) {
  const marks = drawing("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  const fields = element("fieldset", { id: "points", hidden: !usable });

  function drawMarks(shown) {
    const line = (drag) => drawing("line", { x1: drag.x, y1: drag.y, x2: drag.to_x, y2: drag.to_y });
    marks.replaceChildren(...shown.map(line));
  }

  function draw() {
    fields.replaceChildren(
      element("legend", {}, "Points to drag"),
      element("p", {}, "Pull the picture, or write percents of its sides."),
      ...drags.map(row),
      element("div", { class: "row" },
        element("button", { type: "button", id: "point", disabled: drags.length >= MOST, onclick: add }, "Add a point")));
    drawMarks(drags);
  }

  function row(drag, i) {
    const field = ([key, words]) => element("input", {
      type: "number", min: 0, max: 100, step: 0.1, value: +(100 * drag[key]).toFixed(1),
      "aria-label": `Point ${i + 1}, percent ${words}`, "data-drag": `${i}-${key}`,
      onchange: (event) => {
        drag[key] = place(Number(event.target.value) / 100);
        drawMarks(drags);
        changed();
      },
    });
    const remove = () => {
      drags.splice(i, 1);
      draw();
      changed();
    };
    return element("div", { class: "point" }, ...FIELDS.map(field),
      element("button", { type: "button", "aria-label": `Remove point ${i + 1}`, onclick: remove }, "×"));
  }

  function add() {
    drags.push({ x: 0.5, y: 0.6, to_x: 0.5, to_y: 0.6 });
    draw();
  }

  pullable(image, {
    free: () => usable && drags.length < MOST,
    going: (drag) => drawMarks([...drags, drag]),
    gone: (drag) => {
      if (Math.hypot(drag.to_x - drag.x, drag.to_y - drag.y) < 0.01) return drawMarks(drags);
      drags.push(drag);
      draw();
      changed();
    },
  });
  draw();
  return { marks, fields };
}

function pullable(image, { free, going, gone }) {
  let pulled = null;
  image.draggable = false;
  const at = (event) => {
    const box = image.getBoundingClientRect();
    return [place((event.clientX - box.left) / box.width), place((event.clientY - box.top) / box.height)];
  };
  image.addEventListener("pointerdown", (event) => {
    if (!free()) return;
    const [x, y] = at(event);
    pulled = { x, y, to_x: x, to_y: y };
    image.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  image.addEventListener("pointermove", (event) => {
    if (!pulled) return;
    [pulled.to_x, pulled.to_y] = at(event);
    going(pulled);
  });
  image.addEventListener("pointerup", () => {
    const drag = pulled;
    pulled = null;
    if (drag) gone(drag);
  });
}
