// Words in a box: what the pictures should show, and what guidance leads them away from.

import { h } from "../../lib/dom.js";
import { areaField, checkField } from "../../lib/field.js";

const AWAY = "What guidance leads away from; it needs a guidance other than 1.";

/** The lines of a text that say something. */
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/**
 * A prompt and, for models that can be guided, a negative one. `.value` is a list of prompts that take turns, `.negative` what to keep away from;
 * `.model = …` changes whose words they are.
 */
export function promptField({ onchange } = {}) {
  const words = areaField("", "", { rows: 4, oninput: () => tell() });
  const apart = checkField("Each line is a prompt of its own", false, { onchange: () => { tell(); onchange?.(); } });
  const negative = areaField("Negative prompt", "", { rows: 2, hint: AWAY });
  const box = h("div", { class: "stack prompt" }, words, apart, negative);

  function tell(problem = "") {
    const several = lines(words.value).length;
    apart.hidden = several < 2;
    const hint = several > 1 && apart.value ? `${several} prompts take turns.` : words.value.trim() ? "" : "Without words: pictures of nothing in particular.";
    words.say(problem || hint, Boolean(problem));
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
