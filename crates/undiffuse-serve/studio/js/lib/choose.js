// A choice that leads somewhere: a list and a button, because the arrows of a keyboard change a list before anything is chosen.

import { h } from "./dom.js";
import { selectField } from "./field.js";

/** One of `options` (as in `selectField`), and a button that says `does`; calls `onchoose(value)`. */
export function chooser(label, options, does, onchoose) {
  const field = selectField(label, options);
  return h("form", { class: "chooser", onsubmit: (event) => { event.preventDefault(); onchoose(field.value); } }, field, h("button", {}, does));
}
