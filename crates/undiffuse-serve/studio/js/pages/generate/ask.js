// What a model can be asked for, by the schema that it gives of the field: names as chips, numbers as sliders, pictures dropped, words in a box.

import { h, show } from "../../lib/dom.js";
import { selectField, sliderField, textField } from "../../lib/field.js";
import { some } from "../../lib/words.js";
import { pictureField } from "./pictures.js";
import { classField } from "./classes.js";
import { promptField } from "./prompt.js";

/** Numbers of a vector that have sliders; longer ones are text. */
const SLIDERS = 16;
const HINTS = {
  turns: "Values of pictures that the model learned from take turns.",
  own: "",
  none: "Pictures of nothing in particular.",
};

/** Two or three digits that tell the values of a range apart. */
const rounded = (low, high) => (value) => Number(value).toFixed(Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(high - low || 1)))));

/** A vector of numbers. `.value` is a list of words, each numbers separated by commas; `.model = …` changes the numbers. */
function vectorField({ onchange } = {}) {
  const parts = h("div", { class: "stack" });
  const how = selectField("", [], undefined, { "aria-label": "Which values", onchange: () => { tell(); onchange?.(); } });
  const hint = h("div", { class: "hint", "aria-live": "polite" });
  const legend = h("legend", {});
  const box = h("fieldset", { class: "field classes" }, legend, how, parts, hint);
  let numbers = []; // a slider each, or one text field
  let several = []; // words that take turns, as a job had them
  let width = 0;

  function tell(problem = "") {
    parts.hidden = how.value !== "own";
    hint.classList.toggle("problem", Boolean(problem));
    hint.textContent = problem || (how.value === "given" ? `They take turns: ${several.join("; ")}.` : HINTS[how.value] ?? "");
    hint.hidden = !hint.textContent;
  }
  const choices = (none) => [
    { value: "turns", label: "as the pictures have them, in turn" }, { value: "own", label: "these" },
    none && { value: "none", label: "none" }, several.length > 1 && { value: "given", label: "the job's, in turn" },
  ].filter(Boolean);
  let none = false;

  Object.defineProperty(box, "value", {
    get: () => ({ own: [numbers.map((field) => field.value).join(",")], none: ["none"], given: several })[how.value] ?? [],
    set: (words) => {
      several = words.length > 1 ? words : [];
      how.options = choices(none);
      how.value = several.length ? "given" : !words.length ? "turns" : words[0] === "none" ? "none" : "own";
      const values = how.value === "own" ? words[0].split(",") : [];
      if (numbers.length === 1) { if (values.length) numbers[0].value = values.join(","); }
      else if (values.length) numbers.forEach((field, k) => { field.value = values[k]; });
      tell();
    },
  });
  Object.defineProperty(box, "model", { set: ({ ask, guidance }) => {
    const { title, prefixItems: items } = ask.schema;
    show(legend, title);
    none = guidance;
    width = items.length;
    numbers = width > SLIDERS
      ? [textField("Numbers, separated by commas", items.map((item) => item.default).join(","))]
      : items.map(({ title, minimum, maximum, default: value }) => sliderField(title, {
        min: minimum, max: maximum, step: "any", value, format: rounded(minimum, maximum), oninput: () => onchange?.(),
      }));
    show(parts, numbers);
    box.value = [];
  } });
  box.has = (word) => (word === "none" ? none : word.split(",").length === width);
  box.say = (words) => tell(words);
  box.control = { focus: () => how.control.focus() };
  return box;
}

/** How a schema asks: its name, whether a schema is of that kind, its control, and what a model of that kind is asked for in a few words. */
const KINDS = [
  { name: "choice", fits: ({ items }) => Boolean(items?.enum), field: classField, words: ({ classes, class_count: count }) => some(classes.length || count, "class", "classes") },
  { name: "numbers", fits: ({ prefixItems }) => Boolean(prefixItems), field: vectorField, words: ({ ask }) => some(ask.schema.prefixItems.length, "number") },
  { name: "pictures", fits: ({ items }) => Boolean(items?.contentMediaType), field: pictureField, words: () => "pictures" },
  { name: "words", fits: ({ items }) => items?.type === "string", field: promptField, words: () => "words" },
];

/** Of which kind a model's asks are: `choice`, `numbers`, `pictures`, `words` or nothing. */
export const kindOf = ({ ask }) => KINDS.find(({ fits }) => ask && fits(ask.schema))?.name;

/** What a model can be asked for, in a few words. */
export const askedFor = (model) => KINDS.find(({ name }) => name === kindOf(model))?.words(model) ?? "no classes";

/**
 * The control for what the model can be asked for, if anything. `.field` is the name of the request's field, `.title` what people call it, `.value` a list
 * of words that take turns, `.negative` words to keep away from; `.model = …` makes the control that fits.
 */
export function askField(told) {
  const fields = Object.fromEntries(KINDS.map(({ name, field }) => [name, field(told)]));
  const box = h("div", {}, Object.values(fields));
  let inner = null;
  Object.defineProperty(box, "value", { get: () => inner?.value ?? [], set: (words) => { if (inner) inner.value = words; } });
  Object.defineProperty(box, "negative", { get: () => inner?.negative ?? "", set: (words) => { if (inner && "negative" in inner) inner.negative = words; } });
  Object.defineProperty(box, "model", { set: (model) => {
    const kind = kindOf(model);
    for (const [name, control] of Object.entries(fields)) control.hidden = name !== kind;
    inner = fields[kind] ?? null;
    box.hidden = !inner;
    box.field = inner ? model.ask.field : undefined;
    box.title = model.ask?.schema.title ?? "";
    if (inner) inner.model = model;
  } });
  box.has = (word) => inner?.has(word) ?? false;
  box.say = (words, field) => inner?.say(words, field);
  box.control = { focus: () => inner?.control.focus() };
  return box;
}
