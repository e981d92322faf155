// Who descends from whom on the shelf: from faces to families, before anything is drawn.
import { hasOneParent, isChanged } from "/static/recipes.js";

const isSource = (recipe) => hasOneParent(recipe) && !isChanged(recipe);

// One of a recipe's parents by itself, with the looks that the child has.
function parentsOf({ seeds, uploads, psi, class_idx }) {
  const alone = { seeds: [], uploads: [], weights: [], moves: {}, drags: [], psi, class_idx };
  return [...seeds.map((seed) => ({ ...alone, seeds: [seed] })), ...uploads.map((name) => ({ ...alone, uploads: [name] }))];
}

// A parent is the same person at every truncation, but not in every class.
const person = ({ seeds, uploads, class_idx }) => [seeds[0] ?? uploads[0], class_idx ?? ""].join();

// Families, the largest first: each with `parents` and `children`, lists of {recipe, name, kept}, and `links`, pairs of places in
// the two lists. A face that has nobody is a family of one parent.
export function families(faces) {
  const parents = new Map(); // by person
  const children = [];
  for (const { recipe, name } of faces) {
    if (!isSource(recipe)) children.push({ recipe, name, kept: true, of: new Set() });
    else if (!parents.has(person(recipe))) parents.set(person(recipe), { recipe, name, kept: true });
  }
  for (const child of children) {
    for (const recipe of parentsOf(child.recipe)) {
      const who = person(recipe);
      if (!parents.has(who)) parents.set(who, { recipe, name: "A parent that was not kept", kept: false });
      child.of.add(who);
    }
  }
  return together(parents, children).sort((a, b) => b.children.length - a.children.length);
}

// Those that share a child, or a child's parent, and so on.
function together(parents, children) {
  const root = new Map([...parents.keys()].map((who) => [who, who]));
  const first = (who) => {
    while (root.get(who) !== who) who = root.get(who);
    return who;
  };
  for (const { of } of children) for (const who of of) root.set(first(who), first([...of][0]));
  const found = new Map();
  for (const [who, parent] of parents) {
    if (!found.has(first(who))) found.set(first(who), { people: [], parents: [], children: [], links: [] });
    found.get(first(who)).people.push(who);
    found.get(first(who)).parents.push(parent);
  }
  for (const { of, ...child } of children) {
    const family = found.get(first([...of][0]));
    for (const who of of) family.links.push([family.people.indexOf(who), family.children.length]);
    family.children.push(child);
  }
  return [...found.values()];
}
