import { h } from "../../lib/dom.js";

/** Two runs over each other. */
export function compare(root) {
  root.append(h("h1", {}, "Two runs"));
}
