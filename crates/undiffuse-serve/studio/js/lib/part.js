// A choice from one of the service's registries (schedules, solvers, spacings) with the options of what is chosen.

import { h, show } from "./dom.js";
import { checkField, numberField, selectField, textField } from "./field.js";

/** `ddim:eta=0.5` as its tag and options, these as text. */
export function split(text) {
  const [tag, ...rest] = text.split(":");
  const options = rest.join(":").split(",").filter(Boolean).map((o) => [o.split("=", 1)[0].trim(), o.slice(o.indexOf("=") + 1).trim()]);
  return { tag: tag.trim(), options: Object.fromEntries(options) };
}

/** The other way round. */
export const joined = ({ tag, options }) => {
  const pairs = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  return pairs.length ? `${tag}:${pairs.join(",")}` : tag;
};

/** A solver with an eta of its own beside it, as the API allows, in one text. */
export function withEta(text, eta) {
  if (eta === undefined || eta === null) return text;
  const { tag, options } = split(text);
  return joined({ tag, options: { ...options, eta } });
}

const HINTS = {
  eta: "0 is deterministic, 1 as noisy as the way into the noise was.",
  rho: "More spends more steps near the clean picture.",
  sigma_min: "Empty: the model's own.",
  sigma_max: "Empty: the model's own.",
};

const worded = (name) => name.replaceAll("_", " ");
const asText = (value) => (value === null || value === undefined ? "" : String(value));
const same = (a, b) => a === b || (a !== "" && b !== "" && Number(a) === Number(b));

function optionField(name, preset) {
  if (typeof preset === "boolean") return checkField(worded(name), preset);
  const hint = HINTS[name];
  return typeof preset === "number" ? numberField(worded(name), preset, { hint, step: "any" }) : textField(worded(name), asText(preset), { hint });
}

/**
 * A select of `entries` (`{ tag, doc, options }` as the service lists them) with the options of what is chosen: eta in the open, others folded. `.value` reads and sets the
 * registry's text, such as `ddim:eta=0.5`; `.has(text)` tells whether there is such a part. `onchange(value)` is told of changes. `more` are further choices
 * `{ value, label }` without options.
 */
export function partField(label, entries, value, { more = [], onchange } = {}) {
  const choices = [...more, ...entries.map((e) => ({ value: e.tag, label: e.tag, title: e.doc }))];
  const select = selectField(label, choices, undefined, { hint: " " });
  const open = h("div", {});
  const fold = h("details", {});
  const box = h("div", { class: "part" }, select, open, fold);
  let options = {}; // name → { field, preset }, the preset as the registry has it

  const entry = () => entries.find((e) => e.tag === select.value);
  const fill = (chosen) => {
    const e = entry();
    const presets = Object.entries(e?.options ?? {}).filter(([, preset]) => !Array.isArray(preset)); // lists are for config files
    options = Object.fromEntries(presets.map(([name, preset]) => [name, { preset, field: optionField(name, preset) }]));
    for (const [name, { preset, field }] of Object.entries(options)) {
      if (name in chosen) field.value = typeof preset === "boolean" ? chosen[name] === "true" : chosen[name];
    }
    const folded = Object.keys(options).filter((name) => name !== "eta");
    show(open, options.eta?.field);
    show(fold, h("summary", {}, `Options of ${select.value}`), h("div", { class: "stack" }, folded.map((name) => options[name].field)));
    open.hidden = !options.eta;
    fold.hidden = folded.length === 0;
    fold.open = folded.some((name) => name in chosen && !same(asText(chosen[name]), asText(options[name].preset)));
    select.say(e?.doc);
  };
  select.control.addEventListener("change", () => fill({}));
  box.addEventListener("change", () => onchange?.(box.value));

  Object.defineProperty(box, "value", {
    get: () => {
      const given = Object.entries(options).map(([name, { field, preset }]) => [name, asText(field.value), asText(preset)]);
      return joined({ tag: select.value, options: Object.fromEntries(given.filter(([, now, preset]) => now !== "" && !same(now, preset))) });
    },
    set: (text) => {
      const whole = choices.some((c) => c.value === text);
      const { tag, options } = split(text);
      select.value = whole ? text : tag;
      if (!select.value) select.control.selectedIndex = 0;
      fill(whole ? {} : options);
    },
  });
  box.control = select.control;
  box.has = (text) => choices.some((c) => c.value === text || c.value === split(text).tag);
  /** A problem under the choice; nothing shows what the choice is, again. */
  box.say = (text) => (text ? select.say(text, true) : select.say(entry()?.doc));
  box.value = value ?? choices[0]?.value ?? "";
  return box;
}
