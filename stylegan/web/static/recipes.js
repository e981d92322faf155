// Recipes as files and the browser's storage hold them. They are not believed: what no face can have is left out, and what no
// face can be without makes it none. The bounds are the server's.
import { address } from "/static/api.js";

export const MOST_PARENTS = 8;
const LARGEST_SEED = 2 ** 32 - 1;
const PARTS = ["coarse", "middle", "fine"];

const within = (low, high) => (n) => typeof n === "number" && Number.isFinite(n) && n >= low && n <= high;
const whole = (low, high) => (n) => Number.isInteger(n) && n >= low && n <= high;
const isUpload = (name) => typeof name === "string" && /^[0-9a-f]{32}$/.test(name);
const isFraction = within(0, 1);
const isPlain = (found) => found !== null && typeof found === "object" && !Array.isArray(found);

// The list, if it is one of such things and not too long; null otherwise. Nothing at all is the empty list.
function list(found, fits, most) {
  if (found == null) return [];
  return Array.isArray(found) && found.length <= most && found.every(fits) ? [...found] : null;
}

function moves(found) {
  if (!isPlain(found)) return {};
  return Object.fromEntries(Object.entries(found).slice(0, 32)
    .filter(([name, amount]) => name.length <= 100 && within(-20, 20)(amount)));
}

function drags(found) {
  const fits = (drag) => isPlain(drag) && [drag.x, drag.y, drag.to_x, drag.to_y].every(isFraction);
  return (list(found, fits, 8) ?? []).map(({ x, y, to_x, to_y }) => ({ x, y, to_x, to_y }));
}

// A recipe of known fields alone, or null where there are no parents.
export function recipeIn(found) {
  const seeds = list(found?.seeds, whole(0, LARGEST_SEED), MOST_PARENTS);
  const uploads = list(found?.uploads, isUpload, MOST_PARENTS);
  if (!seeds || !uploads) return null;
  const count = seeds.length + uploads.length;
  if (count < 1 || count > MOST_PARENTS) return null;
  const weights = list(found.weights, within(0, 1000), count) ?? [];
  const or = (name, fits, usual) => (fits(found[name]) ? found[name] : usual);
  return {
    seeds, uploads,
    weights: weights.length === count ? weights : [],
    ...Object.fromEntries(PARTS.map((part) => [part, or(part, whole(0, count - 1), null)])),
    moves: moves(found.moves), drags: drags(found.drags),
    noise: or("noise", whole(0, LARGEST_SEED), null), class_idx: or("class_idx", whole(0, 2 ** 31), null),
    psi: or("psi", within(-2, 2), null), x: or("x", within(-1, 1), 0), y: or("y", within(-1, 1), 0),
    rotate: or("rotate", within(-360, 360), 0),
  };
}

// A kept face, or null.
export function faceIn(found) {
  const recipe = recipeIn(found?.recipe);
  return recipe && { recipe, name: String(found.name ?? "A generated face").slice(0, 100) };
}

export const isChanged = (recipe) => Object.values(recipe.moves).some(Boolean) || recipe.drags.length > 0;
export const hasOneParent = (recipe) => recipe.seeds.length + recipe.uploads.length === 1;

// The page that shows a face with all that is done to it.
export function pageOf(recipe) {
  const plain = hasOneParent(recipe) && !isChanged(recipe) && !recipe.uploads.length;
  return address(recipe, plain ? "/" : "/mix");
}

// Whose child it is, or who it is, in few words.
export function words(recipe) {
  const photographs = recipe.uploads.length > 1 ? [`${recipe.uploads.length} photographs`] : recipe.uploads.map(() => "a photograph");
  const parents = [...recipe.seeds, ...photographs].join(", ");
  if (!hasOneParent(recipe)) return `child of ${parents}`;
  return isChanged(recipe) ? `${parents}, changed` : parents;
}
