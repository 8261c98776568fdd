// What is asked for: the form and the request that it makes, remembered for each model.

import { h, settled, show, svg } from "../../lib/dom.js";
import { checkField, numberField, selectField, textField } from "../../lib/field.js";
import { short } from "../../lib/chart.js";
import { partField, withEta } from "../../lib/part.js";
import { base } from "../../lib/words.js";
import { askField, askedFor, kindOf } from "./ask.js";
import { moreField } from "./more.js";
import { startField } from "./start.js";
import { sentence } from "./words.js";

const KEY = "undiffuse.generate";
const SEEDS = 2 ** 32;

const memory = {
  read: () => { try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; } },
  write: (value) => { try { localStorage.setItem(KEY, JSON.stringify(value)); } catch { /* a browser that keeps nothing */ } },
};

/** Any seed. */
export const anySeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;

const dice = () => svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true" },
  svg("rect", { x: 3, y: 3, width: 18, height: 18, rx: 4, fill: "none", stroke: "currentColor", "stroke-width": 2 }),
  [[8, 8], [16, 8], [12, 12], [8, 16], [16, 16]].map(([cx, cy]) => svg("circle", { cx, cy, r: 1.6, fill: "currentColor" })));

function aboutModel(model) {
  const [channels, height, width] = model.shape;
  return [
    `${width} × ${height} ${channels === 1 ? "grey" : "colour"}`,
    askedFor(model),
    `${short(model.parameters)} parameters`,
    model.provenance?.data && `learnt from ${base(String(model.provenance.data))}`,
  ].filter(Boolean).join(" · ");
}

/**
 * The form for `models`, `loras` and `parts` within `limits`. `.request()` is what it asks for, `.problem()` puts the focus on what is missing and tells whether there is
 * anything, `.ready()` puts it on the button, `.set(settings)` fills it and returns sentences about what did not fit, `.blame(Problem)` shows a refusal where it belongs.
 */
export function settingsForm({ models, loras, parts, limits, onsubmit, onchange }) {
  const stored = memory.read();
  let model = null;

  const choice = selectField("Model", models.map(({ id }) => id), undefined, { hint: " ", id: "generate-model" });
  const start = startField({ onchange: () => changed() });
  const ask = askField({ loras, onchange: () => changed() });
  const n = numberField("Pictures", Math.min(8, limits.n), { min: 1, max: limits.n, step: 1, required: true, id: "generate-n" });
  const seed = textField("Seed", "0", { inputMode: "numeric", pattern: "[0-9]{1,16}", required: true, autocomplete: "off", id: "generate-seed", title: "A whole number from 0 to 9007199254740991" });
  const roll = h("button", { type: "button", class: "dice", ariaLabel: "Another seed", title: "Another seed", onclick: () => { seed.value = anySeed(); changed(); } }, dice());
  const seeds = h("div", { class: "hint", id: "generate-seeds" });
  const fresh = checkField("New seeds each time", false, { onchange: () => changed() });
  const solver = partField("Solver", parts.solvers.filter(({ tag }) => tag !== "ddim-inverse")); // that one walks up into noise: no way to make pictures
  const spacing = partField("Spacing", parts.spacings);
  const steps = numberField("Steps", 25, { min: 1, max: limits.steps, step: 1, required: true });
  const guidance = numberField("Guidance", 1, { step: "any", required: true, hint: "1 is none; more keeps closer to what is asked for." });
  const width = numberField("Width", null, {});
  const height = numberField("Height", null, {});
  const sizes = h("p", { class: "hint" });
  const sized = h("summary", {});
  const size = h("details", {}, sized, sizes, h("div", { class: "pair" }, width, height));
  const more = moreField();
  const own = h("button", { type: "button", class: "small", onclick: () => { set(ownSettings()); changed(); form.said.textContent = "Set to the model's own."; } }, "The model's own settings");
  const refusal = h("div", { class: "notice bad", role: "alert", hidden: true });
  const submit = h("button", { class: "primary", id: "generate-go" }, "Generate");

  const form = h("form", { class: "panel stack settings", "aria-label": "Settings", onsubmit: (event) => { event.preventDefault(); onsubmit(); } },
    choice, ask, start,
    h("div", { class: "how-many" }, n, h("div", { class: "seed" }, seed, roll)), seeds, fresh,
    h("fieldset", { class: "stack" }, h("legend", {}, "How it is sampled"), solver, h("div", { class: "pair" }, steps, guidance), spacing, more, size, h("div", {}, own)),
    refusal, h("div", { class: "go" }, submit));
  form.said = h("div", { class: "visually-hidden", role: "status" });
  form.append(form.said);

  // What a refusal's `field` means here.
  const places = { model: choice, n, seed, seeds: seed, solver, spacing, steps, eta: solver, guidance, ...more.fields, width, height, negative: ask, init_image: start, strength: start, mask: start };
  // A fault in a folded part is to be seen.
  const unfold = (part) => { for (let d = part.closest("details"); d; d = d.parentElement.closest("details")) d.open = true; };
  form.addEventListener("invalid", (event) => unfold(event.target), true);

  const ownSettings = () => ({ ...model.defaults, ...more.own(), width: null, height: null, eta: undefined });

  /** What is remembered for a model. */
  const settings = () => ({
    n: n.value, seed: Number(seed.value), ...(ask.field && { [ask.field]: ask.value, negative: ask.negative }), solver: solver.value, spacing: spacing.value, steps: steps.value,
    guidance: guidance.value, ...more.value, width: width.value, height: height.value, fresh: fresh.value,
  });

  function set(wanted) {
    const notes = [];
    if (wanted.n !== undefined) n.value = wanted.n;
    if (wanted.seed !== undefined) seed.value = wanted.seed;
    if (wanted.fresh !== undefined) fresh.value = wanted.fresh;
    const words = wanted[ask.field];
    if (words) {
      const missing = words.filter((word) => !ask.has(word));
      if (missing.length) notes.push(`The model has no ${ask.title.toLowerCase()} “${missing.join("”, “")}”.`);
      ask.value = words.filter((word) => ask.has(word));
    }
    if (wanted.negative !== undefined) ask.negative = wanted.negative;
    for (const [name, field, text] of [["solver", solver, wanted.solver && withEta(wanted.solver, wanted.eta)], ["spacing", spacing, wanted.spacing]]) {
      if (!text) continue;
      if (field.has(text)) field.value = text;
      else notes.push(`There is no ${name} “${text}” here; it stays ${field.value}.`);
    }
    if (wanted.steps) steps.value = wanted.steps;
    if (wanted.guidance !== undefined && model.guidance) guidance.value = wanted.guidance;
    more.value = wanted;
    if (wanted.width !== undefined || wanted.height !== undefined) {
      const [, ownHeight, ownWidth] = model.shape;
      const own = !model.side_step || (wanted.width ?? ownWidth) === ownWidth && (wanted.height ?? ownHeight) === ownHeight;
      width.value = own ? null : wanted.width;
      height.value = own ? null : wanted.height;
      size.open = !own || kindOf(model) === "words";
    }
    return notes;
  }

  function use(id) {
    model = models.find((m) => m.id === id) ?? models[0];
    choice.value = model.id;
    choice.say(aboutModel(model));
    ask.model = model;
    guidance.hidden = !model.guidance;
    guidance.value = model.defaults.guidance;
    more.model = model;
    const [, ownHeight, ownWidth] = model.shape;
    [[width, ownWidth], [height, ownHeight]].forEach(([{ control }, own]) => Object.assign(control, { placeholder: own, min: model.side_step ?? own, step: model.side_step ?? own }));
    size.hidden = !model.side_step;
    sized.textContent = kindOf(model) === "words" ? "Size" : "Another size";
    sizes.textContent = kindOf(model) === "words"
      ? `Sides of so many times ${model.side_step} pixels, squares of up to ${model.max_side}. Empty: its own.`
      : "The model learnt one size; others are an experiment. Empty: its own.";
    set({ ...ownSettings(), ...(ask.field && { [ask.field]: [], negative: "" }), ...stored.models?.[model.id] });
  }

  const remember = settled(() => memory.write(stored), 300);
  function changed() {
    const [channels, ownHeight, ownWidth] = model.shape;
    const [h1, w1] = [height.value ?? ownHeight, width.value ?? ownWidth];
    // A size that nobody can mean, half typed perhaps, is for the service to refuse.
    if (h1 >= 1 && w1 >= 1 && h1 * w1 <= limits.pixels) start.shape = [channels, Math.round(h1), Math.round(w1)];
    const first = Number(seed.value);
    const count = n.value ?? 1;
    const what = count > 1 ? `Seeds ${first} to ${first + count - 1}: each picture has the next one.` : `Seed ${first}.`;
    seeds.textContent = `${what} The same seed and settings always give the same picture.`;
    submit.textContent = count > 1 ? `Generate ${count} pictures` : "Generate";
    [ask, ...Object.values(places)].forEach((place) => place !== choice && place.say());
    guidance.say("1 is none; more keeps closer to what is asked for.");
    refusal.hidden = true;
    stored.model = model.id;
    stored.models = { ...stored.models, [model.id]: settings() };
    remember();
    onchange?.(form);
  }
  form.addEventListener("input", changed);
  form.addEventListener("change", (event) => { if (event.target === choice.control) use(choice.value); changed(); });

  form.start = start;
  form.ready = () => submit.focus();
  Object.defineProperty(form, "model", { get: () => model, set: (id) => { use(id); changed(); } });
  form.request = () => ({
    model: model.id,
    ...(n.value !== 1 && { n: n.value }),
    seed: Number(seed.value),
    ...(ask.value.length && { [ask.field]: ask.value }),
    ...(ask.negative && { negative: ask.negative }),
    solver: solver.value,
    spacing: spacing.value,
    steps: steps.value,
    ...(model.guidance && { guidance: guidance.value }),
    ...more.request(),
    ...((width.value || height.value) && { width: width.value ?? model.shape[2], height: height.value ?? model.shape[1] }),
    ...start.request(),
  });
  form.set = (wanted) => {
    if (wanted.model && models.some(({ id }) => id === wanted.model)) use(wanted.model);
    const notes = set(wanted);
    if (wanted.from) start.mode = wanted.from;
    if (wanted.strength !== undefined && start.mode !== "noise") start.strength = wanted.strength;
    changed();
    return notes;
  };
  form.missing = () => {
    const words = start.problem();
    if (words) { start.say(words); start.control.focus(); }
    return Boolean(words);
  };
  form.blame = (problem) => {
    const place = problem.field === ask.field ? ask : places[problem.field];
    if (place) { place.say(sentence(problem.message), place === ask ? problem.field : true); unfold(place); place.control.focus(); }
    else { show(refusal, sentence(problem.message)); refusal.hidden = false; }
  };
  /** After a job has been taken: seeds that were not used yet, if these are wanted. */
  form.next = () => { if (fresh.value) { seed.value = anySeed(); changed(); } };

  use(stored.model);
  changed();
  return form;
}
