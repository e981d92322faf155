// The shelf: recipes of faces that somebody kept, in this browser alone.
import { address } from "/static/api.js";

const KEY = "stylegan-shelf-1";
const MOST = 200;

export function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter(isFace).slice(0, MOST) : [];
  } catch {
    return [];
  }
}

export function isFace(face) {
  const whole = (n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32;
  return Boolean(face && typeof face === "object" && face.recipe && Array.isArray(face.recipe.seeds)
    && face.recipe.seeds.length > 0 && face.recipe.seeds.length <= 8 && face.recipe.seeds.every(whole));
}

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
  list.replaceChildren(...faces.map((face, i) => {
    const item = document.createElement("li");
    item.className = "face";
    const link = document.createElement("a");
    link.href = address(face.recipe, face.recipe.seeds.length > 1 || Object.keys(face.recipe.moves ?? {}).length ? "/mix" : "/");
    const image = document.createElement("img");
    image.src = address(face.recipe);
    image.alt = face.name;
    image.loading = "lazy";
    const words = document.createElement("span");
    words.textContent = face.recipe.seeds.length > 1 ? `child of ${face.recipe.seeds.join(", ")}` : `${face.recipe.seeds[0]}`;
    link.append(image, words);
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${face.name} from the shelf`);
    remove.addEventListener("click", () => forget(i));
    item.append(link, remove);
    return item;
  }));
}

export function exported() {
  return new Blob([JSON.stringify({ format: "stylegan-shelf-1", faces: kept() }, null, 2)], { type: "application/json" });
}

export async function imported(file) {
  if (file.size > 1_000_000) throw new Error("This file is too large for a shelf.");
  const content = JSON.parse(await file.text());
  const faces = Array.isArray(content?.faces) ? content.faces.filter(isFace) : [];
  if (!faces.length) throw new Error("This file holds no shelf.");
  const there = new Set(kept().map((face) => address(face.recipe)));
  const fresh = faces.filter((face) => !there.has(address(face.recipe)));
  store([...fresh, ...kept()]);
  return fresh.length;
}
