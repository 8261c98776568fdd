// Classes as chips: pressed ones take turns, and with none pressed all do.

import { h, show } from "../../lib/dom.js";

const CHIPS = 120;

/** Names of a model's classes: given ones, or numbers. */
export const classNames = (model) => (model.classes.length ? model.classes : Array.from({ length: model.class_count }, (_, k) => String(k)));

/** Classes separated by commas: a name that has commas in it is taken as a whole, and blanks that are no part of a name are left out. */
export function split(text, names) {
  const known = new Set(names);
  const commas = Math.max(0, ...names.map((name) => name.split(",").length - 1));
  const parts = text.split(",");
  const found = [];
  for (let from = 0; from < parts.length;) {
    let to = Math.min(parts.length, from + commas + 1);
    const spelt = () => { const whole = parts.slice(from, to).join(","); return [whole, whole.replace(/^ /, ""), whole.trim()].find((name) => known.has(name)); };
    while (to > from + 1 && spelt() === undefined) to -= 1;
    found.push(spelt() ?? parts[from].trim());
    from = to;
  }
  return found.filter((name) => name || known.has(name));
}

/** The chips. `.value` is a list of names in the order in which they take turns; `.model = …` changes what there is to choose from. */
export function classField({ onchange } = {}) {
  const chips = h("div", { class: "chips" });
  const hint = h("div", { class: "hint", "aria-live": "polite" });
  const text = h("input", { type: "text", "aria-label": "Classes, separated by commas", placeholder: "0, 3, 7", hidden: true });
  const box = h("fieldset", { class: "field classes" }, h("legend", {}, "Class"), chips, text, hint);
  let names = [];
  let none; // the word for no class
  let chosen = [];
  let problem = "";

  const tell = () => {
    for (const chip of chips.children) chip.setAttribute("aria-pressed", String(chosen.includes(chip.dataset.name)));
    hint.classList.toggle("problem", Boolean(problem));
    hint.textContent = problem || (chosen.length === 0 ? "None chosen: all take turns." : chosen.length > 1 ? `They take turns: ${chosen.join(", ")}.` : "");
    hint.hidden = !hint.textContent;
  };
  const press = (name) => {
    chosen = chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name];
    problem = "";
    tell();
    onchange?.();
  };
  text.addEventListener("input", () => { chosen = split(text.value, names); problem = ""; tell(); onchange?.(); });

  Object.defineProperty(box, "value", {
    get: () => [...chosen],
    set: (list) => { chosen = list.filter((name) => names.includes(name)); text.value = chosen.join(", "); problem = ""; tell(); },
  });
  Object.defineProperty(box, "model", { set: (model) => {
    names = classNames(model);
    box.hidden = names.length === 0;
    none = model.no_class;
    if (none) names = [...names, none];
    text.hidden = names.length <= CHIPS;
    chips.hidden = !text.hidden;
    show(chips, text.hidden ? names.map((name) => h("button", {
      type: "button", class: "chip", ariaPressed: "false", dataset: { name }, onclick: () => press(name), title: name === none ? "Pictures of no class in particular" : null,
    }, name === none ? "no class" : name)) : []);
    box.value = chosen;
  } });
  box.has = (name) => names.includes(name);
  box.say = (words) => { problem = words ?? ""; tell(); };
  box.control = { focus: () => (text.hidden ? chips.firstElementChild : text)?.focus() };
  return box;
}
