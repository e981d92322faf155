// The network, by its model card.
import { network } from "/static/api.js";
import { element } from "/static/parts.js";

export async function about(view) {
  const told = await network();
  view.append(element("h1", {}, "About this network"));
  view.append(...blocks(told.card || `No card was written for ${told.name}.`));
  return {};
}

// Of Markdown as much as our cards have: headings, tables, code, paragraphs.
function blocks(card) {
  const lines = card.replace(/^---[\s\S]*?---\n/, "").split("\n");
  const made = [];
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    if (line.startsWith("```")) {
      const code = [];
      for (i += 1; i < lines.length && !lines[i].startsWith("```"); i += 1) code.push(lines[i]);
      i += 1;
      made.push(element("pre", { tabindex: 0 }, code.join("\n")));
    } else if (line.startsWith("#")) {
      made.push(element("h2", {}, line.replace(/^#+ /, "")));
      i += 1;
    } else if (line.startsWith("|")) {
      const rows = [];
      for (; i < lines.length && lines[i].startsWith("|"); i += 1) rows.push(cells(lines[i]));
      made.push(element("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" }, element("table", {}, element("tbody", {}, ...rows.filter((row) => !row.every((cell) => /^[-: ]*$/.test(cell))).map((row) =>
        element("tr", {}, ...row.map((cell, column) => element(column ? "td" : "th", column ? {} : { scope: "row" }, cell.replaceAll("`", "")))))))));
    } else if (line.trim()) {
      const text = [];
      for (; i < lines.length && lines[i].trim() && !/^(#|\||```)/.test(lines[i]); i += 1) text.push(lines[i]);
      made.push(element("p", {}, text.join(" ").replaceAll("`", "")));
    } else {
      i += 1;
    }
  }
  return made;
}

function cells(line) {
  return line.replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}
