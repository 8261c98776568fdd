// How long a training is to be: time, pictures or passes.

import { h } from "../../lib/dom.js";
import { selectField, textField } from "../../lib/field.js";

/** What a length may be given as: key of the request → words, an example, how its text is read, a sentence when it cannot be. */
const KINDS = {
  budget: { words: "Time", example: "5m", read: (text) => text, wrong: "Give a time such as 5m or 1h30m.", good: (v) => v !== "" },
  images: { words: "Pictures seen", example: "150000", read: (text) => Number(text.replace(/[\s,_]/g, "")), wrong: "Give a whole number of pictures.", good: (v) => Number.isInteger(v) && v > 0 },
  epochs: { words: "Passes over the data", example: "20", read: Number, wrong: "Give a number above 0, such as 20 or 0.5.", good: (v) => v > 0 && Number.isFinite(v) },
};

/**
 * The two fields of a length; `hints` by kind say what each is here. `read()` is the part of the request, `{}` when nothing is given, null when it makes no
 * sense, which the field then says. `fields` are for problems that the service finds.
 */
export function lengthFields({ value = "5m", optional = false, hints = {} } = {}) {
  const changed = () => { amount.value = kind.value === "budget" && !optional ? value : ""; amount.control.placeholder = `such as ${KINDS[kind.value].example}`; amount.say(hints[kind.value]); };
  const kind = selectField("Length as", Object.entries(KINDS).map(([value, { words }]) => ({ value, label: words })), "budget", { onchange: changed });
  const amount = textField("How much", optional ? "" : value, { autocomplete: "off", spellcheck: false });
  changed();
  const box = h("div", { class: "pair" }, kind, amount);
  box.fields = Object.fromEntries(Object.keys(KINDS).map((key) => [key, amount]));
  box.read = () => {
    const text = amount.value.trim();
    if (!text && optional) return {};
    const { read, good, wrong } = KINDS[kind.value];
    const value = read(text);
    if (!good(value)) { amount.say(wrong, true); amount.control.focus(); return null; }
    amount.say(hints[kind.value]);
    return { [kind.value]: value };
  };
  return box;
}
