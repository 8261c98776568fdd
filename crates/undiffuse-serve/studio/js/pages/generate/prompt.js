// Words in a box: what the pictures should show, and what guidance leads them away from.

import { h } from "../../lib/dom.js";
import { areaField, checkField } from "../../lib/field.js";

const AWAY = "What guidance leads away from; it needs a guidance other than 1.";

/** A LoRA in a prompt: its name, how many times. */
const TAG = /\s*<lora:([^<>:]+)(:[^<>]*)?>/g;

/** The lines of a text that say something. */
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/**
 * A prompt with chips for what of `loras` can be named in it and, for models that can be guided, a negative one. `.value` is a list of prompts that take turns, `.negative` what to keep away from;
 * `.model = …` changes whose words they are.
 */
export function promptField({ loras = [], onchange } = {}) {
  const words = areaField("", "", { rows: 4, oninput: () => tell() });
  const apart = checkField("Each line is a prompt of its own", false, { onchange: () => { tell(); onchange?.(); } });
  const negative = areaField("Negative prompt", "", { rows: 2, hint: AWAY });
  const chips = h("div", { class: "chips" }, loras.map(({ name, file }) => h("button", { type: "button", class: "chip", dataset: { name }, title: file, onclick: () => press(name) }, name)));
  const added = h("fieldset", { class: "field classes", hidden: loras.length === 0 }, h("legend", {}, "LoRA"), chips);
  const box = h("div", { class: "stack prompt" }, words, apart, added, negative);

  /** Names a LoRA in every prompt, or in none where it was. */
  function press(name) {
    const one = (prompt) => {
      const without = prompt.replace(TAG, (tag, other) => (other.trim() === name ? "" : tag));
      return without === prompt ? `${prompt.trimEnd()} <lora:${name}:1>`.trim() : without;
    };
    words.value = apart.value && lines(words.value).length > 1 ? lines(words.value).map(one).join("\n") : one(words.value);
    tell();
    onchange?.();
  }

  function tell(problem = "") {
    const several = lines(words.value).length;
    apart.hidden = several < 2;
    const hint = several > 1 && apart.value ? `${several} prompts take turns.` : words.value.trim() ? "" : "Without words: pictures of nothing in particular.";
    words.say(problem || hint, Boolean(problem));
    const named = new Set([...words.value.matchAll(TAG)].map(([, name]) => name.trim()));
    for (const chip of chips.children) chip.setAttribute("aria-pressed", String(named.has(chip.dataset.name)));
  }

  Object.defineProperty(box, "value", {
    get: () => (apart.value ? lines(words.value) : [words.value].filter((text) => text.trim())),
    set: (prompts) => {
      apart.value = prompts.length > 1;
      // A line is a prompt where there are several, and spaces of all kinds mean the same.
      words.value = prompts.length > 1 ? prompts.map((prompt) => prompt.replace(/\s+/g, " ")).join("\n") : prompts[0] ?? "";
      tell();
    },
  });
  Object.defineProperty(box, "negative", { get: () => (negative.hidden ? "" : negative.value.trim()), set: (text) => { negative.value = text ?? ""; } });
  Object.defineProperty(box, "model", { set: ({ ask, guidance }) => {
    words.querySelector("label").textContent = ask.schema.title;
    negative.hidden = !guidance;
    box.value = [];
    box.negative = "";
  } });
  box.has = () => true;
  box.say = (problem, field) => {
    const away = field === "negative" && problem;
    tell(away ? "" : problem);
    negative.say(away || AWAY, Boolean(away));
  };
  box.control = { focus: () => words.control.focus() };
  return box;
}
