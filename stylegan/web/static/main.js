// Which page this is, the shelf, and the keyboard.
import { about } from "/static/about.js";
import { face } from "/static/face.js";
import { find } from "/static/find.js";
import { quiz } from "/static/quiz.js";
import { mix } from "/static/mix.js";
import { draw, exported, imported } from "/static/shelf.js";
import { save, say } from "/static/parts.js";
import { tree } from "/static/tree.js";

const pages = { "/": ["face", face, "Nobody you know"], "/mix": ["mix", mix, "Mix faces"], "/find": ["find", find, "Find faces"], "/quiz": ["quiz", quiz, "Which is generated?"], "/about": ["about", about, "About this network"] };
const [name, page, title] = pages[location.pathname] ?? pages["/"];
document.title = title;
document.querySelector(`[data-page=${name}]`).setAttribute("aria-current", "page");

const list = document.getElementById("kept");
const empty = document.getElementById("empty");
const redraw = () => draw(list, empty);
document.addEventListener("shelf", redraw);
window.addEventListener("storage", redraw);
redraw();
document.getElementById("export").addEventListener("click", () => save(exported(), "shelf.json"));
document.getElementById("import").addEventListener("change", async (event) => {
  try {
    say(`${await imported(event.target.files[0])} faces came in.`);
  } catch (error) {
    say(error.message);
  }
  event.target.value = "";
});

tree(document.getElementById("family"), document.getElementById("tree"));

const help = document.getElementById("help");
let actions = {};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  if (event.key === " " && !event.target.closest("button, a, summary")) actions.next?.();
  else if (event.key === "k") actions.keep?.();
  else if (event.key === "s") actions.save?.();
  else if (event.key === "ArrowLeft") (actions.left ?? (() => history.back()))();
  else if (event.key === "ArrowRight") (actions.right ?? (() => history.forward()))();
  else if (event.key === "?") help.showModal();
  else return;
  event.preventDefault();
});

try {
  actions = await page(document.getElementById("view"));
} catch (error) {
  say(error.message);
}
