// Pictures that a model is asked with: dropped or chosen, each a button that takes it away again.

import { h, show } from "../../lib/dom.js";
import { dataUrl, decode, dropZone, reduced } from "../../lib/picture.js";

/** Pixels of a picture's longer side: more than the models see that are asked with pictures. */
const LONGEST = 512;
const DATA = "data:image/";

/** The pictures. `.value` is a list of words that take turns: `data:` addresses, or what a job had in their place. */
export function pictureField({ onchange } = {}) {
  const thumbs = h("div", { class: "chips" });
  const hint = h("div", { class: "hint", "aria-live": "polite" });
  const legend = h("legend", {});
  const drop = dropZone("Drop a picture here", add, { multiple: true });
  const box = h("fieldset", { class: "field classes" }, legend, thumbs, drop, hint);
  let words = [];

  async function add(file) {
    try {
      const canvas = reduced(await decode(file), LONGEST);
      words = [...words, await dataUrl(await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); }))];
      tell();
      onchange?.();
    } catch (error) {
      tell(error.message);
    }
  }

  const remove = (k) => { words = words.filter((_, other) => other !== k); tell(); onchange?.(); };
  const thumb = (word, k) => h("button", { type: "button", class: "chip", title: "Take it away", "aria-label": `Take picture ${k + 1} away`, onclick: () => remove(k) },
    word.startsWith(DATA) ? h("img", { src: word.replace(/:[0-9.]+$/, ""), alt: "", width: 48, height: 48 }) : word === "none" ? "none" : `vector ${k + 1}`);

  function tell(problem = "") {
    show(thumbs, words.map(thumb));
    hint.classList.toggle("problem", Boolean(problem));
    hint.textContent = problem || (words.length === 0 ? "None given: those of training take turns." : words.length > 1 ? "They take turns." : "");
    hint.hidden = !hint.textContent;
  }

  Object.defineProperty(box, "value", { get: () => [...words], set: (list) => { words = [...list]; tell(); } });
  Object.defineProperty(box, "model", { set: ({ ask }) => { show(legend, ask.schema.title); box.value = []; } });
  box.has = () => true;
  box.say = (problem) => tell(problem);
  box.control = { focus: () => drop.querySelector("button").focus() };
  return box;
}
