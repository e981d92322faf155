// Which of two is generated? What to look for on this pair, and the score against chance.
import { json, network } from "/static/api.js";
import { element, say } from "/static/parts.js";

const KEY = "stylegan-quiz-1";

function score() {
  const found = JSON.parse(localStorage.getItem(KEY) ?? "null");
  const whole = (n) => Number.isInteger(n) && n >= 0 && n < 1e9;
  return found && whole(found.right) && whole(found.played) && found.right <= found.played ? found : { right: 0, played: 0 };
}

export async function quiz(view) {
  const about = await network();
  view.append(element("h1", {}, "Which of them is generated?"));
  if (!about.quiz) {
    view.append(element("p", {}, "This server has no real pictures. Start it with ", element("code", {}, "stylegan serve --data ARCHIVE"), "."));
    return {};
  }
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  let pair = null;
  const sides = {};
  for (const side of ["left", "right"]) {
    const image = element("img", { class: "portrait", alt: `The picture on the ${side}` });
    sides[side] = { image, button: element("button", { type: "button", id: side, disabled: true, "aria-label": `The ${side} one is generated`, onclick: () => choose(side) }, image) };
  }
  const said = element("p", { class: "caption", id: "verdict", role: "status" });
  const cues = element("ul", { id: "cues" });
  const total = element("p", { class: "caption", id: "score" });
  const again = element("button", { type: "button", class: "first", id: "again", onclick: next, disabled: true }, "Another pair");
  view.append(element("div", { class: "pair" }, sides.left.button, sides.right.button), said, cues, total, element("div", { class: "row" }, again));

  async function next() {
    pair = null;
    for (const { button } of Object.values(sides)) button.disabled = true;
    const asked = await json("/api/v1/quiz", {});
    for (const [side, { image, button }] of Object.entries(sides)) {
      button.classList.remove("right");
      image.src = `/api/v1/quiz/${asked.pair}/${side}`;
    }
    await Promise.all(Object.values(sides).map(({ image }) => image.decode()));
    said.textContent = "Choose the one that no camera has seen.";
    cues.replaceChildren();
    again.disabled = true;
    for (const { button } of Object.values(sides)) button.disabled = false;
    pair = asked.pair;
  }

  async function choose(side) {
    if (!pair) return;
    const asked = pair;
    pair = null;
    try {
      const told = await json(`/api/v1/quiz/${asked}`, { generated: side, ...score() });
      localStorage.setItem(KEY, JSON.stringify({ right: told.right, played: told.played }));
      sides[told.generated].button.classList.add("right");
      for (const { button } of Object.values(sides)) button.disabled = true;
      said.textContent = `${told.correct ? "Right" : "Wrong"}: the ${told.generated} one is generated (seed ${told.seed}).`;
      cues.replaceChildren(...told.cues.map((cue) => element("li", {}, cue.sentence)));
      const [low, high] = told.interval;
      const verdict = low > told.chance ? "better than chance" : high < told.chance ? "worse than chance" : "chance cannot be ruled out";
      total.textContent = `${told.right} of ${told.played} right, ${percent(told.right / told.played)} (95 % interval ${percent(low)} to ${percent(high)}): ${verdict}.`;
    } catch (error) {
      say(error.message);
    }
    again.disabled = false;
  }

  await next();
  return { next: () => { if (!again.disabled) next(); }, left: () => choose("left"), right: () => choose("right") };
}
