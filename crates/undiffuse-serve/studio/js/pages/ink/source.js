// Where the picture comes from that dissolves: a sample of a model, a drawing, or one of the person's own. Nothing is uploaded.

import { bytes, models, remove, run } from "../../lib/api.js";
import { h } from "../../lib/dom.js";
import { selectField } from "../../lib/field.js";
import { decode, dropZone, pasted, reduced } from "../../lib/picture.js";
import { drawing } from "./drawing.js";
import { values } from "./dissolve.js";
import { shows } from "../generate/words.js";

/** Pictures dissolve at this size, at most, so that time can be moved without delay. */
const LONGEST = 256;
/** How long a model may take before a drawing is shown meanwhile. */
const PATIENCE = 700;
/** Models of so many numbers take minutes: they paint when they are told to. */
const LARGE = 1e8;

/** The controls; `onpicture({ name, width, height, channels, x0 })` is called for every picture. `leave()` ends them. */
export function source(onpicture) {
  const leaving = new AbortController();
  let seed = 0;
  let turn = 0; // what was asked for last is what is shown
  let own = null; // the person's own picture
  let known = []; // models
  const give = (name, canvas) => onpicture({ name, ...values(canvas) });

  const sample = async (model) => {
    const mine = ++turn;
    let there = false;
    let id = null;
    select.say(`${model} paints it…`);
    setTimeout(() => { if (!there && turn === mine && !leaving.signal.aborted) give("a drawing", drawing()); }, PATIENCE);
    try {
      const { images: [image] } = await run({ model, seed, n: 1 }, { state: (job) => { id = job.id; } }, leaving.signal);
      if (!image) return;
      const bitmap = await decode(new Blob([await bytes(image.url)]));
      there = true;
      if (turn !== mine) return;
      select.say(`Painted by ${model}, seed ${seed}${shows(image) ? `, ${shows(image)}` : ""}.`);
      give(`a sample of ${model}`, reduced(bitmap, LONGEST));
    } catch (e) {
      there = true;
      if (e.name === "AbortError" || turn !== mine) return;
      select.say(`${e.message} Here is a drawing instead.`, true);
      give("a drawing", drawing());
    } finally {
      // It is for looking at: among the pictures of the page Generate it has no place.
      if (id) remove(`/api/v1/jobs/${id}`).catch(() => {});
    }
  };
  const open = async (file) => {
    const mine = ++turn;
    try {
      const bitmap = await decode(file);
      if (turn !== mine) return;
      const canvas = reduced(bitmap, LONGEST);
      const name = file.name || "the pasted picture";
      own = { name, ...values(canvas) };
      choices("own");
      const size = `${canvas.width} × ${canvas.height} pixels`;
      select.say(canvas.width < bitmap.width ? `Reduced to ${size}; it does not leave your browser.` : `${size}; it does not leave your browser.`);
      onpicture(own);
    } catch (e) {
      if (turn === mine) select.say(e.message, true);
    }
  };
  const show = () => {
    another.hidden = !select.value.startsWith("model:");
    if (select.value === "own") { turn++; select.say(`${own.width} × ${own.height} pixels; it does not leave your browser.`); onpicture(own); }
    if (select.value === "drawing") { turn++; select.say("160 × 160 pixels."); give("a drawing", drawing()); }
    if (select.value.startsWith("model:")) sample(select.value.slice(6));
  };
  const choices = (value) => {
    select.options = [
      ...known.map((m) => ({ value: `model:${m.id}`, label: `A sample of ${m.id}` })),
      { value: "drawing", label: "A drawing" },
      ...(own ? [{ value: "own", label: own.name }] : []),
    ];
    select.value = value;
    another.hidden = !value.startsWith("model:");
  };
  const select = selectField("Picture", [], undefined, { onchange: () => show() });
  const another = h("button", { type: "button", onclick: () => { seed++; show(); } }, "Another sample");
  const zone = dropZone("Drop or paste a picture of yours", open);
  const stopPasting = pasted(open);
  const box = h("fieldset", { class: "stack" }, h("legend", {}, "What dissolves"), select, another, zone);

  models(leaving.signal).then((list) => { known = list; }, () => {}).then(() => {
    if (leaving.signal.aborted) return;
    // Someone was quicker and has dropped a picture.
    if (own) { choices("own"); return; }
    const first = known.find(({ parameters }) => parameters < LARGE);
    choices(first ? `model:${first.id}` : "drawing");
    show();
  });
  box.leave = () => { leaving.abort(); stopPasting(); };
  return box;
}
