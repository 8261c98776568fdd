import { h } from "../lib/dom.js";

export const title = "Ink";

export function page(root) {
  root.append(h("h1", {}, title));
}
