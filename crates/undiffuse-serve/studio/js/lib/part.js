// A choice from one of the service's registries (schedules, solvers, spacings) with the options of what is chosen.

import { checkField, numberField, selectField, textField } from "./field.js";
import { h, show } from "./dom.js";

const FIELDS = { number: numberField, boolean: checkField, string: textField };
const worded = (name) => name.replaceAll("_", " ");

/** `ddim:eta=0.5` as its tag and options. */
export function split(text) {
  const [tag, ...rest] = text.split(":");
  const options = rest.join(":").split(",").filter(Boolean).map((o) => o.split("="));
  return { tag, options: Object.fromEntries(options) };
}

/**
 * A select of `entries` (`{ tag, doc, options }` as the service lists them) with a fold-out for the options. `.value` reads and sets the
 * registry's text, such as `ddim:eta=0.5`; `onchange(value)` is told of changes. `more` are further choices `{ value, label }` without options.
 */
export function partField(label, entries, value, { more = [], onchange } = {}) {
  const choices = [...more, ...entries.map((e) => ({ value: e.tag, label: e.tag, title: e.doc }))];
  const select = selectField(label, choices, undefined, { onchange: () => { fill({}); onchange?.(box.value); } });
  const fields = h("div", { class: "stack" });
  const summary = h("summary", {});
  const fold = h("details", {}, summary, fields);
  const box = h("div", { class: "part" }, select, fold);
  let options = {}; // name → { field, given }, given as the registry has it

  const entry = () => entries.find((e) => e.tag === select.value);
  const fill = (chosen) => {
    const e = entry();
    options = {};
    for (const [name, given] of Object.entries(e?.options ?? {})) {
      const make = FIELDS[typeof given];
      if (!make) continue; // lists are for config files
      const now = name in chosen ? (typeof given === "boolean" ? chosen[name] === "true" : typeof given === "number" ? Number(chosen[name]) : chosen[name]) : given;
      const field = make(worded(name), now, { onchange: () => onchange?.(box.value), ...(typeof given === "number" ? { step: "any" } : {}) });
      options[name] = { field, given };
    }
    show(fields, Object.values(options).map((o) => o.field));
    summary.textContent = `Options of ${e?.tag}`;
    fold.hidden = !Object.keys(options).length;
    select.say(e?.doc);
  };
  Object.defineProperty(box, "value", {
    get: () => {
      const changed = Object.entries(options).filter(([, o]) => o.field.value !== null && o.field.value !== "" && o.field.value !== o.given);
      return changed.length ? `${select.value}:${changed.map(([name, o]) => `${name}=${o.field.value}`).join(",")}` : select.value;
    },
    set: (text) => {
      const { tag, options } = split(text);
      const whole = choices.some((c) => c.value === text);
      select.value = whole ? text : tag;
      if (!select.value) select.control.selectedIndex = 0;
      fill(whole ? {} : options);
      fold.open = !whole && Object.keys(options).length > 0;
    },
  });
  box.control = select.control;
  /** A problem under the choice; nothing shows what the choice is, again. */
  box.say = (text) => (text ? select.say(text, true) : select.say(entry()?.doc));
  box.value = value ?? choices[0]?.value ?? "";
  return box;
}
