// The family tree of the shelf: parents above, children below, a line for each descent.
import { families } from "/static/family.js";
import { drawing, element } from "/static/parts.js";
import { pageOf, words } from "/static/recipes.js";
import { kept } from "/static/shelf.js";
import { thumbnail } from "/static/thumbnail.js";

// In pixels, as style.css has them for .people.
const STEP = 104; // from one face to the next
const RISE = 48; // of the lines

function person({ recipe, name, kept }) {
  const who = words(recipe);
  return element("li", kept ? {} : { class: "unkept" },
    element("a", { href: pageOf(recipe) }, thumbnail(recipe, kept ? name : `Not on the shelf: ${who}`),
      element("span", {}, kept ? who : `${who} (not kept)`)));
}

const people = (label, faces) => element("ul", { class: "people", "aria-label": label }, ...faces.map(person));

function family({ parents, children, links }) {
  if (!children.length) return people("No relatives", parents);
  const width = STEP * Math.max(parents.length, children.length);
  const middle = (i, count) => width / 2 + STEP * (i - (count - 1) / 2);
  const lines = links.map(([parent, child]) => {
    const [from, to] = [middle(parent, parents.length), middle(child, children.length)];
    return drawing("path", { d: `M${from} 0C${from} ${RISE / 2} ${to} ${RISE / 2} ${to} ${RISE}` });
  });
  const lineage = drawing("svg", { width, height: RISE, viewBox: `0 0 ${width} ${RISE}`, "aria-hidden": true }, ...lines);
  return element("section", { class: "family" }, people("Parents", parents), lineage, people("Children", children));
}

// The button opens it, and gets the focus back when it closes: a dialog does so by itself.
export function tree(button, dialog) {
  const place = dialog.querySelector(".families");
  button.addEventListener("click", () => {
    const found = families(kept());
    const alone = found.filter(({ children }) => !children.length).flatMap(({ parents }) => parents);
    place.replaceChildren(...found.filter(({ children }) => children.length).map(family),
      ...(alone.length ? [family({ parents: alone, children: [], links: [] })] : []),
      ...(found.length ? [] : [element("p", {}, "Nobody is on the shelf yet.")]));
    dialog.showModal();
  });
}
