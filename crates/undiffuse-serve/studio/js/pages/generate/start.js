// What the walk starts from: noise, a picture, or a picture with a part repainted.

import { h, notice, show } from "../../lib/dom.js";
import { sliderField } from "../../lib/field.js";
import { decode, dropZone, reduced } from "../../lib/picture.js";
import { brush } from "./brush.js";
import { factor, fitted, maskUrl } from "./fit.js";

const MODES = [["noise", "Noise"], ["picture", "A picture"], ["paint", "Paint into one"]];

const HINTS = {
  picture: "How much of the way from noise is walked again.",
  paint: "How much of the way from noise is walked again where it is painted; 1 forgets what was there.",
};

/** How much of the way is walked again unless asked otherwise. */
const STRENGTH = { picture: 0.6, paint: 1 };

const WORDS = [
  [0.001, "keeps it"], [0.2, "hardly a change"], [0.4, "touches it up"], [0.6, "same shape, other details"], [0.8, "freely after it"], [0.999, "a mere hint of it"], [Infinity, "forgets it"],
];
const words = (strength) => `${strength.toFixed(2)}: ${WORDS.find(([below]) => strength <= below)[1]}`;

/**
 * The panel. `.mode`, `.strength`; `.shape = [channels, height, width]` fits the picture again; `.take(file or canvas, mode)`; `.request()` is its part
 * of a request, `.problem()` what is missing, `.kept` and `.keep(…)` the whole of it for later.
 */
export function startField({ onchange } = {}) {
  const radios = MODES.map(([value, label]) => h("label", { class: "segment" }, h("input", { type: "radio", name: "start-from", value, checked: value === "noise", onchange: () => turn(value) }), h("span", {}, label)));
  const drop = dropZone("Drop a picture here", (file) => box.take(file));
  const preview = h("canvas", { class: "easel pixels", role: "img", "aria-label": "The picture to start from, as the model sees it" });
  const seen = h("div", { class: "hint" });
  const other = h("button", { type: "button", class: "small", onclick: () => drop.querySelector("input").click() }, "Another picture");
  const easel = brush({ onchange: () => { box.say(); onchange?.(); } });
  const strength = sliderField("Strength", { min: 0, max: 1, step: 0.01, value: STRENGTH.picture, format: words, hint: HINTS.picture, oninput: () => onchange?.() });
  const problem = h("p", { class: "hint problem", role: "alert", hidden: true });
  const body = h("div", { class: "stack" });
  const box = h("fieldset", { class: "stack start" }, h("legend", {}, "Start from"), h("div", { class: "segments" }, radios), body, problem);

  let mode = "noise";
  let shape = null;
  let source = null;
  let small = null;

  function draw() {
    if (mode === "noise") { show(body); return; }
    if (!small) { show(body, drop); return; }
    const [, height, width] = shape;
    seen.textContent = `As the model sees it: ${width} × ${height} pixels${shape[0] === 1 ? ", grey" : ""}.`;
    if (mode === "paint") { easel.picture = small; show(body, easel, h("div", { class: "row" }, other), strength); return; }
    const scale = Math.max(1, factor(Math.max(width, height), 264)); // a larger one is shrunk by the style
    Object.assign(preview, { width: width * scale, height: height * scale });
    const pen = preview.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, preview.width, preview.height);
    show(body, preview, seen, h("div", { class: "row" }, other), strength);
  }

  function turn(next) {
    if (next === mode) return;
    mode = next;
    if (mode in STRENGTH) {
      box.strength = STRENGTH[mode];
      strength.say(HINTS[mode]);
    }
    radios.forEach((label) => { label.firstChild.checked = label.firstChild.value === mode; });
    box.say();
    draw();
    onchange?.();
  }

  const refit = () => { small = source && shape ? fitted(source, shape) : null; draw(); };

  // The hidden input stays in the page, whatever is shown.
  const file = drop.querySelector("input");
  box.append(file);
  for (const name of ["dragenter", "dragover"]) body.addEventListener(name, (event) => event.preventDefault());
  body.addEventListener("drop", (event) => {
    const dropped = [...event.dataTransfer.files].find((f) => f.type.startsWith("image/"));
    if (dropped && small) { event.preventDefault(); event.stopPropagation(); box.take(dropped); }
  });
  drop.addEventListener("drop", (event) => event.stopPropagation());

  Object.defineProperty(box, "mode", { get: () => mode, set: turn });
  Object.defineProperty(box, "strength", { get: () => strength.value, set: (value) => {
    // Finer steps only for values that need them: arrow keys are to move it by a hundredth.
    strength.range(0, 1, Math.abs(value * 100 - Math.round(value * 100)) < 1e-9 ? 0.01 : "any");
    strength.value = value;
  } });
  Object.defineProperty(box, "shape", { set: (next) => { if (String(next) !== String(shape)) { shape = next; refit(); } } });
  box.take = async (what, into) => {
    try {
      source = what instanceof HTMLCanvasElement ? what : reduced(await decode(what), 2048);
    } catch (e) {
      notice(e.message, "bad");
      return false;
    }
    if (into || mode === "noise") turn(into ?? "picture");
    refit();
    box.say();
    onchange?.();
    return true;
  };
  box.problem = () => {
    if (mode === "noise") return null;
    if (!small) return "Drop a picture to start from, or start from noise.";
    if (mode === "paint" && easel.empty()) return "Paint over what is to be repainted, or start from the whole picture.";
    return null;
  };
  box.request = () => ({
    ...(mode !== "noise" && small && { init_image: small.toDataURL("image/png"), strength: strength.value }),
    ...(mode === "paint" && small && { mask: maskUrl(easel.mask, small.width, small.height) }),
  });
  Object.defineProperty(box, "kept", { get: () => (mode === "noise" ? null : { mode, source, mask: mode === "paint" ? easel.mask.slice() : null, strength: strength.value, request: box.request() }) });
  box.keep = (kept) => {
    if (!kept) { turn("noise"); return; }
    source = kept.source;
    turn(kept.mode);
    refit();
    if (kept.mask) easel.mask = kept.mask;
    box.strength = kept.strength;
  };
  box.say = (text) => { problem.textContent = text ?? ""; problem.hidden = !text; };
  box.control = { focus: () => (mode === "paint" && small ? easel.control : radios.find((l) => l.firstChild.checked).firstChild).focus() };
  return box;
}
