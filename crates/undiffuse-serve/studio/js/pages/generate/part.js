// Solvers and spacings as the registry writes them, `ddim:eta=0.5`: read, written, and chosen in a form.

import { h, show } from "../../lib/dom.js";
import { checkField, numberField, selectField, textField } from "../../lib/field.js";

/** `karras:rho=5,sigma_min=0.01` → `{ tag, options }`, the options as text. */
export function parse(text) {
  const [tag, rest] = [text.split(":", 1)[0], text.slice(text.indexOf(":") + 1)];
  const options = text.includes(":") ? rest.split(",").map((pair) => [pair.split("=", 1)[0].trim(), pair.slice(pair.indexOf("=") + 1).trim()]) : [];
  return { tag: tag.trim(), options: Object.fromEntries(options) };
}

/** The other way round. */
export const written = ({ tag, options }) => {
  const pairs = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  return pairs.length ? `${tag}:${pairs.join(",")}` : tag;
};

/** A solver with an eta of its own beside it, as the API allows, in one word. */
export function withEta(text, eta) {
  if (eta === undefined || eta === null) return text;
  const part = parse(text);
  return written({ ...part, options: { ...part.options, eta } });
}

const HINTS = {
  eta: "0 is deterministic, 1 as noisy as the way into the noise was.",
  rho: "Larger spends more steps near the clean picture.",
  sigma_min: "Empty: the model's own.",
  sigma_max: "Empty: the model's own.",
};

const asText = (value) => (value === null ? "" : Array.isArray(value) ? value.join(";") : String(value));
const same = (a, b) => a === b || (a !== "" && b !== "" && Number(a) === Number(b));

function optionField(name, preset) {
  const hint = HINTS[name];
  if (typeof preset === "boolean") return checkField(name.replaceAll("_", " "), preset);
  if (typeof preset === "number") return numberField(name.replaceAll("_", " "), preset, { hint, step: "any", placeholder: asText(preset) });
  return textField(name.replaceAll("_", " "), asText(preset), { hint });
}

/**
 * A choice among `entries` (`{ tag, doc, options }`) with what it is in a line and its options: `eta` in the open, the rest folded. Its `.value` is the written form; setting
 * one that is not among the entries leaves all as it is, and `.has(text)` tells.
 */
export function partField(label, entries, { onchange } = {}) {
  const choice = selectField(label, entries.map(({ tag, doc }) => ({ value: tag, label: tag, title: doc })), undefined, { hint: " " });
  const open = h("div", {});
  const folded = h("details", {});
  const box = h("div", { class: "stack chosen" }, choice, open, folded);
  let fields = {};

  const entry = () => entries.find(({ tag }) => tag === choice.value);
  const draw = (options = {}) => {
    const { doc, options: presets = {} } = entry() ?? {};
    choice.say(doc);
    fields = Object.fromEntries(Object.entries(presets).map(([name, preset]) => [name, { preset, field: optionField(name, preset) }]));
    for (const [name, { preset, field }] of Object.entries(fields)) {
      if (name in options) field.value = typeof preset === "boolean" ? options[name] === "true" : options[name];
    }
    const rest = Object.keys(fields).filter((name) => name !== "eta");
    show(open, fields.eta?.field);
    folded.hidden = rest.length === 0;
    folded.open = rest.some((name) => name in options && !same(String(options[name]), asText(fields[name].preset)));
    show(folded, h("summary", {}, `Options of ${choice.value}`), h("div", { class: "stack" }, rest.map((name) => fields[name].field)));
  };
  choice.control.addEventListener("change", () => draw());
  box.addEventListener("change", () => onchange?.());
  box.addEventListener("input", () => onchange?.());

  Object.defineProperty(box, "value", {
    get: () => {
      const given = Object.entries(fields).map(([name, { preset, field }]) => [name, asText(field.value), asText(preset)]);
      return written({ tag: choice.value, options: Object.fromEntries(given.filter(([, value, preset]) => value !== "" && !same(value, preset)).map(([name, value]) => [name, value])) });
    },
    set: (text) => {
      if (!box.has(text)) return;
      const part = parse(text);
      choice.value = part.tag;
      draw(part.options);
    },
  });
  box.has = (text) => entries.some(({ tag }) => tag === parse(text).tag);
  box.say = (text, problem) => choice.say(text ?? entry()?.doc, problem);
  box.control = choice.control;
  draw();
  return box;
}
