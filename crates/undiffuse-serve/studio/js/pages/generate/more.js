// Settings that most pictures are made without: how far guidance goes, and how words are read.

import { h } from "../../lib/dom.js";
import { numberField, selectField } from "../../lib/field.js";
import { kindOf } from "./ask.js";

/** What they are where nothing says otherwise, as in a picture that says nothing of them. */
export const PLAIN = { guidance_rescale: 0, guidance_interval: [], clip_skip: 0, emphasis: "original" };

const BRACKETS = [
  { value: "original", label: "weigh words, scaled back to their mean" },
  { value: "no-norm", label: "weigh words" },
  { value: "none", label: "are words like others" },
];

/** Beyond this no model has noise. */
const NOISIEST = 1e9;

/** Two ends of noise levels; `.value` is both, or nothing where there is none. */
function intervalField() {
  const low = numberField("Guided from noise", null, { min: 0, step: "any", placeholder: "0" });
  const high = numberField("up to noise", null, { min: 0, step: "any", placeholder: "all" });
  const box = h("div", { class: "pair" }, low, high);
  Object.defineProperty(box, "value", {
    get: () => (low.value === null && high.value === null ? [] : [low.value ?? 0, high.value ?? NOISIEST]),
    set: ([from = null, to = null]) => { low.value = from; high.value = to === NOISIEST ? null : to; },
  });
  box.say = low.say;
  box.control = low.control;
  return box;
}

/** The fields, folded. `.model = …` shows those that it has, `.value` reads and sets them, `.request()` is what of them is not the model's own. */
export function moreField() {
  const fields = {
    guidance_rescale: numberField("Guidance scaled back", 0, { min: 0, max: 1, step: "any", required: true }),
    guidance_interval: intervalField(),
    clip_skip: numberField("Layers left out", 0, { min: 0, step: 1, required: true }),
    emphasis: selectField("Brackets in words", BRACKETS),
  };
  const summary = h("summary", {});
  const hint = h("p", { class: "hint" });
  const box = h("details", {}, summary, hint, h("div", { class: "stack" }, Object.values(fields)));
  const shown = () => Object.entries(fields).filter(([, field]) => !field.hidden);
  let own = PLAIN;

  box.fields = fields;
  Object.defineProperty(box, "model", { set: (model) => {
    const words = kindOf(model) === "words";
    const guided = Boolean(model.guidance);
    own = { ...PLAIN, ...model.defaults };
    for (const [name, field] of Object.entries(fields)) field.hidden = !(name.startsWith("guidance") ? guided : words);
    box.hidden = !guided && !words;
    summary.textContent = words ? "More of guidance and words" : "More of guidance";
    hint.textContent = "Guidance can be scaled back (0 is not at all, 1 all the way; 0.7 is usual where pictures come out overexposed), and kept to some of the way: noise is sigma over alpha."
      + (words ? " Layers are left out at the end of the text encoder." : "");
  } });
  Object.defineProperty(box, "value", {
    get: () => Object.fromEntries(shown().map(([name, field]) => [name, field.value])),
    set: (wanted) => {
      for (const [name, field] of Object.entries(fields)) if (wanted[name] !== undefined) field.value = wanted[name];
      // What is not as usual is to be seen.
      box.open = shown().some(([name, field]) => String(field.value) !== String(PLAIN[name]));
    },
  });
  box.own = () => Object.fromEntries(Object.keys(fields).map((name) => [name, own[name]]));
  box.request = () => Object.fromEntries(shown().map(([name, field]) => [name, field.value])
    .filter(([name, value]) => String(value) !== String(own[name]) && String(value) !== ""));
  return box;
}
