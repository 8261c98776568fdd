// How a model is sampled: the settings of one walk.

import { h, show } from "../../lib/dom.js";
import { areaField, numberField, selectField } from "../../lib/field.js";
import { partField } from "../../lib/part.js";
import { kindOf } from "../generate/ask.js";
import { classNames } from "../generate/classes.js";
import { briefly } from "../generate/words.js";

/** Changes that are worth a look, each beside the first walk: what they are called, for whom, what they change. */
export const IDEAS = [
  { name: "a quarter of the steps", change: (s) => ({ ...s, steps: Math.max(Math.round(s.steps / 4), 2) }) },
  { name: "Euler, the plainest solver", change: (s) => ({ ...s, solver: "euler" }) },
  { name: "Heun, two looks a step", change: (s) => ({ ...s, solver: "heun", steps: Math.max(Math.round(s.steps / 2), 2) }) },
  { name: "fresh noise at every step", change: (s) => ({ ...s, solver: "ddpm" }) },
  { name: "no guidance", when: (model) => model.guidance, change: (s) => ({ ...s, guidance: 1 }) },
  { name: "strong guidance", when: (model) => model.guidance, change: (s) => ({ ...s, guidance: 6 }) },
  { name: "another class", when: (model) => classes(model).length > 1, change: (s, model) => { const all = classes(model); const { field } = model.ask; return { ...s, [field]: all[(all.indexOf(s[field]) + 1) % all.length] }; } },
  { name: "no words", when: (model) => kindOf(model) === "words", change: (s, model) => ({ ...s, [model.ask.field]: "" }) },
];

/** What one picture is asked for, by the kind of the model's asks; vectors of numbers are not asked for here. */
const ASKS = {
  choice: (model, told) => selectField(model.ask.schema.title, classes(model), undefined, told),
  words: (model, told) => areaField(model.ask.schema.title, "", told),
};

/** A model's classes as requests name them. */
export function classes(model) {
  const names = classNames(model);
  return model.no_class ? [...names, model.no_class] : names;
}

/** The model's own settings. */
export function own(model) {
  const all = { ...model.defaults, ...(model.ask && { [model.ask.field]: classes(model)[0] }) };
  return Object.fromEntries(names(model).map((name) => [name, all[name]]));
}

/** Names of the settings, as the address has them. */
export const names = (model) => [model.ask?.field, "solver", "spacing", "steps", "guidance"].filter(Boolean);

/** A group of fields for `parts` and a model. `.value` reads and sets them; `onchange()` is told. */
export function settingsFields(legend, parts, model, limits, onchange) {
  const told = { onchange };
  // The way up to noise needs a picture to start from.
  const down = parts.solvers.filter((s) => s.tag !== "ddim-inverse");
  const ask = ASKS[kindOf(model)]?.(model, told);
  const fields = {
    ...(ask && { [model.ask.field]: ask }),
    solver: partField("Solver", down, model.defaults.solver, told),
    spacing: partField("Spacing", parts.spacings, model.defaults.spacing, told),
    steps: numberField("Steps", model.defaults.steps, { min: 1, max: limits?.steps ?? 1000, step: 1, ...told }),
    guidance: numberField("Guidance", model.defaults.guidance, { step: "any", hint: "1 is none; more is truer to what is asked for.", ...told }),
  };
  fields.guidance.hidden = !model.guidance;
  const box = h("fieldset", { class: "stack" }, h("legend", {}, legend), Object.values(fields));
  Object.defineProperty(box, "value", {
    get: () => {
      const all = Object.entries(fields).filter(([, f]) => !f.hidden && f.value !== null && f.value !== "");
      return Object.fromEntries(all.map(([name, f]) => [name, f.value]));
    },
    set: (values) => { for (const [name, f] of Object.entries(fields)) if (values[name] !== undefined) f.value = values[name]; },
  });
  /** Puts a problem beside the field that it is about; says whether there is one. */
  box.say = (field, text) => { fields[field]?.say(text, Boolean(text)); return field in fields; };
  box.clear = () => { for (const [name, f] of Object.entries(fields)) f.say(name === "guidance" ? "1 is none; more is truer to what is asked for." : undefined); };
  return box;
}

/** The settings as a request of the service. */
export function asked(settings, { ask }) {
  const { [ask?.field]: word, ...rest } = settings;
  return { ...rest, ...(word ? { [ask.field]: [word] } : {}) };
}

/** The settings in a few words. */
export function described(settings, model) {
  const parts = [settings.solver, `${settings.steps} steps`];
  const word = settings[model?.ask?.field];
  if (word) parts.push(word === model.no_class ? "no class" : kindOf(model) === "choice" && /^\d+$/.test(word) ? `class ${word}` : briefly(word).textContent);
  if (model?.guidance && settings.guidance !== undefined) parts.push(`guidance ${settings.guidance}`);
  return parts.join(", ");
}

/** Buttons for the ideas that fit a model; `pick(change)` is called with the chosen one. */
export function ideas(model, pick) {
  const fitting = IDEAS.filter((idea) => !idea.when || idea.when(model));
  const select = selectField("Compare with", [{ value: "", label: "nothing" }, ...fitting.map((idea, k) => ({ value: String(k), label: idea.name })), { value: "own", label: "settings of your own" }], "", {
    onchange: () => pick(select.value === "" ? null : select.value === "own" ? (s) => s : fitting[Number(select.value)].change),
  });
  return select;
}
