// A small picture of a face, or words where the server has none any more.
import { address } from "/static/api.js";
import { element } from "/static/parts.js";

export function thumbnail(recipe, alt, attributes = {}) {
  const image = element("img", { src: address(recipe), alt, loading: "lazy", ...attributes });
  image.addEventListener("error", () => {
    const why = recipe.uploads?.length ? "The server has forgotten this photograph" : "The server has no such face";
    image.replaceWith(element("span", { class: "gone", role: "img", "aria-label": `${alt}. ${why}.` }, why));
  });
  return image;
}
