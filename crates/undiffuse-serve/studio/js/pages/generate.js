import { h } from "../lib/dom.js";

export const title = "Generate";

export function page(root) {
  root.append(h("h1", {}, title));
}
