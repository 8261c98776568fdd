// Labelled controls. Each returns its wrapper, with the control itself as `.control` and its value as `.value`.

import { h, show } from "./dom.js";

let count = 0;

function wrap(label, control, hint) {
  control.id ||= `field-${++count}`;
  const note = h("div", { class: "hint", id: `${control.id}-hint`, hidden: !hint }, hint ?? "");
  control.setAttribute("aria-describedby", note.id);
  const box = h("div", { class: "field" }, h("label", { htmlFor: control.id }, label), control, note);
  Object.defineProperty(box, "value", { get: () => control.value, set: (value) => { control.value = value; }, configurable: true });
  box.control = control;
  /** A line under the control: a hint, or a problem that a screen reader announces. */
  box.say = (text, problem = false) => {
    note.textContent = text ?? "";
    note.hidden = !text;
    note.classList.toggle("problem", problem);
    control.toggleAttribute("aria-invalid", problem);
  };
  return box;
}

/** Text. */
export const textField = (label, value = "", { hint, ...props } = {}) => wrap(label, h("input", { type: "text", value, ...props }), hint);

/** Text of several lines; it goes the way of its letters. */
export const areaField = (label, value = "", { hint, ...props } = {}) => wrap(label, h("textarea", { value, rows: 3, dir: "auto", ...props }), hint);

/** A number; its value is a number, or null when empty. */
export function numberField(label, value, { hint, ...props } = {}) {
  const box = wrap(label, h("input", { type: "number", value: value ?? "", ...props }), hint);
  Object.defineProperty(box, "value", {
    get: () => (box.control.value === "" ? null : Number(box.control.value)),
    set: (value) => { box.control.value = value ?? ""; },
  });
  return box;
}

/** One of several: options are strings or `{ value, label, title }`. `.options = …` replaces them and keeps the choice if it can. */
export function selectField(label, options, value, { hint, ...props } = {}) {
  const box = wrap(label, h("select", props), hint);
  Object.defineProperty(box, "options", { set: (options) => {
    const before = box.control.value;
    const items = options.map((o) => (typeof o === "string" ? { value: o, label: o } : o));
    show(box.control, items.map((o) => h("option", { value: o.value, title: o.title }, o.label)));
    if (items.some((o) => o.value === before)) box.control.value = before;
  } });
  box.options = options;
  if (value !== undefined) box.control.value = value;
  return box;
}

/** A slider with its value in words beside the label; `format` makes them, and screen readers read them. */
export function sliderField(label, { min, max, step = 1, value = min, format = String, hint, oninput }) {
  const words = h("output", {});
  const control = h("input", { type: "range", min, max, step, value });
  const box = wrap("", control, hint);
  words.setAttribute("for", control.id);
  show(box.querySelector("label"), label, " ", words);
  const tell = () => {
    words.textContent = format(Number(control.value));
    control.setAttribute("aria-valuetext", words.textContent);
  };
  control.addEventListener("input", () => { tell(); oninput?.(Number(control.value)); });
  Object.defineProperty(box, "value", { get: () => Number(control.value), set: (value) => { control.value = value; tell(); } });
  /** New ends, the value kept inside them. */
  box.range = (min, max, step = 1) => { Object.assign(control, { min, max, step }); tell(); };
  tell();
  return box;
}

/** Yes or no. */
export function checkField(label, checked = false, { onchange, ...props } = {}) {
  const control = h("input", { type: "checkbox", checked, onchange, id: `field-${++count}`, ...props });
  const box = h("div", { class: "check" }, control, h("label", { htmlFor: control.id }, label));
  box.control = control;
  Object.defineProperty(box, "value", { get: () => control.checked, set: (value) => { control.checked = value; } });
  return box;
}
