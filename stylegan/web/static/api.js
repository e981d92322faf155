// What the pages know of the server: addresses of faces, pictures with their words, and the network.

export function address(recipe, path = "/api/v1/image") {
  const query = new URLSearchParams();
  for (const seed of recipe.seeds) query.append("seed", seed);
  for (const name of recipe.uploads ?? []) query.append("upload", name);
  for (const weight of recipe.weights ?? []) query.append("weight", weight);
  for (const [name, amount] of Object.entries(recipe.moves ?? {})) if (amount) query.append("move", `${name}~${amount}`);
  for (const drag of recipe.drags ?? []) query.append("drag", [drag.x, drag.y, drag.to_x, drag.to_y].join("~"));
  for (const part of ["coarse", "middle", "fine", "noise"]) if (recipe[part] != null) query.set(part, recipe[part]);
  if (recipe.class_idx != null) query.set("class", recipe.class_idx);
  if (recipe.psi != null) query.set("psi", recipe.psi);
  for (const name of ["x", "y", "rotate"]) if (recipe[name]) query.set(name, recipe[name]);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function recipeOf(query) {
  const number = (name) => (query.has(name) ? Number(query.get(name)) : null);
  const moves = {};
  for (const text of query.getAll("move")) {
    const cut = text.lastIndexOf("~");
    moves[text.slice(0, cut)] = Number(text.slice(cut + 1));
  }
  const drags = query.getAll("drag").map((text) => text.split("~").map(Number)).map(([x, y, to_x, to_y]) => ({ x, y, to_x, to_y }));
  return {
    uploads: query.getAll("upload"),
    drags,
    seeds: query.getAll("seed").map(Number),
    weights: query.getAll("weight").map(Number),
    coarse: number("coarse"), middle: number("middle"), fine: number("fine"), noise: number("noise"),
    class_idx: number("class"), psi: number("psi"),
    x: number("x") ?? 0, y: number("y") ?? 0, rotate: number("rotate") ?? 0, moves,
  };
}

// By GET, or with a body by POST; what the server refuses is thrown in its own words.
async function asked(path, headers, body) {
  const posted = body && { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, posted || { headers });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? answer.statusText);
  }
  return answer;
}

export async function json(path, body = null) {
  return (await asked(path, {}, body)).json();
}

// A picture with its seed and its words. Formats other than PNG are for looking at.
export async function picture(path, accept = "image/webp,image/png;q=0.9", body = null) {
  const answer = await asked(path, { Accept: accept }, body);
  return {
    blob: await answer.blob(),
    seeds: (answer.headers.get("X-Seed") ?? "").split(",").filter(Boolean).map(Number),
    class_idx: answer.headers.has("X-Class") ? Number(answer.headers.get("X-Class")) : null,
    words: answer.headers.get("X-Description") ?? "A generated picture",
  };
}

// A photograph is found in the network: `told` hears how far that is; `signal` stops it.
export async function upload(file, { class_idx, tune }, told, signal) {
  const query = new URLSearchParams({ tune });
  if (class_idx != null) query.set("class", class_idx);
  const headers = { "Content-Type": "application/octet-stream" };
  const answer = await fetch(`/api/v1/uploads?${query}`, { method: "POST", body: file, headers });
  const sent = await answer.json();
  if (!answer.ok) throw new Error(sent.detail ?? answer.statusText);
  const path = `/api/v1/uploads/${sent.upload}`;
  signal.addEventListener("abort", () => fetch(path, { method: "DELETE" }));
  for (;;) {
    if (signal.aborted) throw new Error("Stopped.");
    const now = await json(path);
    if (now.state === "done") return sent.upload;
    if (now.state === "failed") throw new Error(now.problem);
    told(now);
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

let known;
export const network = () => (known ??= json("/api/v1/network").then((about) => {
  document.documentElement.style.setProperty("--shape", `${about.width} / ${about.height}`);
  return about;
}));
