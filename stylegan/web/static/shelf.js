// The shelf: recipes of faces that somebody kept, in this browser alone.
import { address } from "/static/api.js";
import { element } from "/static/parts.js";
import { faceIn, pageOf, words } from "/static/recipes.js";
import { thumbnail } from "/static/thumbnail.js";

const KEY = "stylegan-shelf-1";
const MOST = 200;

export function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? facesIn(found) : [];
  } catch {
    return [];
  }
}

const facesIn = (found) => found.slice(0, MOST).map(faceIn).filter(Boolean);

export function keep(recipe, name) {
  const faces = kept();
  const where = address(recipe);
  if (faces.some((face) => address(face.recipe) === where)) return false;
  faces.unshift({ recipe, name: String(name).slice(0, 100) });
  store(faces);
  return true;
}

export function forget(index) {
  const faces = kept();
  faces.splice(index, 1);
  store(faces);
}

export function store(faces) {
  localStorage.setItem(KEY, JSON.stringify(faces.slice(0, MOST)));
  document.dispatchEvent(new Event("shelf"));
}

export function draw(list, empty) {
  const faces = kept();
  empty.hidden = faces.length > 0;
  list.replaceChildren(...faces.map(({ recipe, name }, i) => element("li", { class: "face" },
    element("a", { href: pageOf(recipe) }, thumbnail(recipe, name), element("span", {}, words(recipe))),
    element("button", { type: "button", "aria-label": `Remove ${name} from the shelf`, onclick: () => forget(i) }, "×"))));
}

export function exported() {
  return new Blob([JSON.stringify({ format: "stylegan-shelf-1", faces: kept() }, null, 2)], { type: "application/json" });
}

export async function imported(file) {
  if (file.size > 1_000_000) throw new Error("This file is too large for a shelf.");
  const content = await file.text().then(JSON.parse).catch(() => null);
  const faces = Array.isArray(content?.faces) ? facesIn(content.faces) : [];
  if (!faces.length) throw new Error("This file holds no shelf.");
  const there = new Set(kept().map((face) => address(face.recipe)));
  const fresh = faces.filter((face) => !there.has(address(face.recipe)));
  store([...fresh, ...kept()]);
  return fresh.length;
}
