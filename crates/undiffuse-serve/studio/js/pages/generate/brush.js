// A brush over a small picture: where the model is to repaint. Pointer and keyboard do the same.

import { h } from "../../lib/dom.js";
import { sliderField } from "../../lib/field.js";
import { factor } from "./fit.js";

const UNDOS = 50;
const TINT = [217, 33, 122];
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Sets `value` in the disc of `size` pixels across around a pixel. */
export function dab(mask, width, height, [cx, cy], size, value) {
  const reach = size / 2;
  // Even sizes are centred on the corner before the pixel.
  const off = size % 2 === 0 ? 0.5 : 0;
  for (let y = Math.max(0, Math.floor(cy - reach)); y < Math.min(height, cy + reach + 1); y++) {
    for (let x = Math.max(0, Math.floor(cx - reach)); x < Math.min(width, cx + reach + 1); x++) {
      if ((x - cx + off) ** 2 + (y - cy + off) ** 2 <= reach * reach) mask[y * width + x] = value;
    }
  }
}

/** Dabs along a line, without gaps. */
export function stroke(mask, width, height, [x0, y0], [x1, y1], size, value) {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
  for (let k = 0; k <= steps; k++) {
    dab(mask, width, height, [Math.round(x0 + ((x1 - x0) * k) / steps), Math.round(y0 + ((y1 - y0) * k) / steps)], size, value);
  }
}

/** The editor. `.picture = canvas` shows another picture and keeps the mask if it has the same size; `.mask` is bytes, 1 where to paint. */
export function brush({ onchange } = {}) {
  const canvas = h("canvas", { class: "easel", tabIndex: 0, role: "application", "aria-roledescription": "painting area", "aria-describedby": "brush-keys" });
  const said = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  const share = h("div", { class: "hint" });
  const size = sliderField("Brush", { min: 1, max: 12, value: 4, format: (v) => `${v} pixel${v === 1 ? "" : "s"} wide`, oninput: () => draw() });
  const erase = h("button", { type: "button", class: "small", ariaPressed: "false", onclick: () => { erasing = !erasing; erase.setAttribute("aria-pressed", String(erasing)); } }, "Erase");
  const undo = h("button", { type: "button", class: "small", onclick: () => back() }, "Undo");
  const clear = h("button", { type: "button", class: "small", onclick: () => change(() => mask.fill(0), "Nothing is painted.") }, "Clear");
  const invert = h("button", { type: "button", class: "small", onclick: () => change(() => mask.forEach((v, i) => { mask[i] = 1 - v; }), "Inverted.") }, "Invert");
  const keys = h("p", { class: "hint", id: "brush-keys" }, "Keys: arrows move the brush (with Shift, five pixels), Space paints, [ and ] change its size, E erases, Ctrl+Z undoes.");
  const box = h("div", { class: "stack brush" }, canvas, share, size, h("div", { class: "row" }, erase, undo, clear, invert), keys, said);

  let [width, height, scale] = [1, 1, 1];
  let picture = null;
  let mask = new Uint8Array(1);
  let before = [];
  let cursor = [0, 0];
  let shown = false;
  let erasing = false;
  let last = null;

  const painted = () => mask.reduce((a, b) => a + b, 0);
  const tell = () => {
    const part = painted() / mask.length;
    share.textContent = part === 0 ? "Paint over what the model is to repaint." : `${part < 0.01 ? "Under 1" : Math.round(part * 100)} % is painted and will be repainted; the rest stays.`;
    canvas.setAttribute("aria-label", `The picture, ${width} by ${height} pixels, ${Math.round(part * 100)} per cent painted`);
    undo.disabled = before.length === 0;
    clear.disabled = part === 0;
  };
  const remember = () => { before.push(mask.slice()); if (before.length > UNDOS) before.shift(); };
  const changed = () => { tell(); draw(); onchange?.(); };
  const change = (f, words) => { remember(); f(); said.textContent = words; changed(); };
  const back = () => { if (before.length) { mask = before.pop(); said.textContent = "Undone."; changed(); } };

  function draw() {
    if (!picture) return;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    pen.fillStyle = `rgb(${TINT.join(" ")} / .6)`;
    mask.forEach((set, i) => { if (set) pen.fillRect((i % width) * scale, Math.floor(i / width) * scale, scale, scale); });
    if (!shown) return;
    // A ring that shows on dark and on light.
    const even = size.value % 2 === 0 ? 0 : 0.5;
    for (const [colour, line] of [["#000", 3], ["#fff", 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.beginPath();
      pen.arc((cursor[0] + even) * scale, (cursor[1] + even) * scale, Math.max(2, (size.value / 2) * scale), 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  const at = (event) => {
    const { left, top, width: w, height: hgt } = canvas.getBoundingClientRect();
    return [Math.floor(((event.clientX - left) / w) * width), Math.floor(((event.clientY - top) / hgt) * height)];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    remember();
    last = cursor = at(event);
    dab(mask, width, height, cursor, size.value, erasing ? 0 : 1);
    shown = true;
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    cursor = at(event);
    shown = true;
    if (last) { stroke(mask, width, height, last, cursor, size.value, erasing ? 0 : 1); last = cursor; }
    draw();
  });
  const lift = () => { if (last) { last = null; changed(); } };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => { if (!last && document.activeElement !== canvas) { shown = false; draw(); } });
  canvas.addEventListener("focus", () => { shown = true; draw(); });
  canvas.addEventListener("blur", () => { shown = false; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (move) {
      const reach = event.shiftKey ? 5 : 1;
      cursor = [0, 1].map((k) => Math.min([width, height][k] - 1, Math.max(0, cursor[k] + move[k] * reach)));
      said.textContent = `Column ${cursor[0] + 1}, row ${cursor[1] + 1}, ${mask[cursor[1] * width + cursor[0]] ? "painted" : "kept"}`;
      draw();
    } else if (event.key === " " || event.key === "Enter") {
      change(() => dab(mask, width, height, cursor, size.value, erasing ? 0 : 1), erasing ? "Erased." : "Painted.");
    } else if (event.key === "[" || event.key === "]") {
      size.value = size.value + (event.key === "]" ? 1 : -1);
      said.textContent = `Brush ${size.value} wide`;
      draw();
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) back();
    else if (event.key.toLowerCase() === "e" && !event.ctrlKey && !event.metaKey) erase.click();
    else return;
    event.preventDefault();
  });

  Object.defineProperty(box, "picture", { set: (next) => {
    picture = next;
    if (next.width !== width || next.height !== height) {
      [width, height] = [next.width, next.height];
      mask = new Uint8Array(width * height);
      before = [];
      cursor = [Math.floor(width / 2), Math.floor(height / 2)];
      size.range(1, Math.max(2, Math.round(Math.min(width, height) / 2)));
      size.value = Math.max(1, Math.round(Math.min(width, height) / 7));
    }
    scale = Math.max(1, factor(Math.max(width, height), 264));
    Object.assign(canvas, { width: width * scale, height: height * scale });
    tell();
    draw();
  } });
  Object.defineProperty(box, "mask", { get: () => mask, set: (next) => { if (next.length === mask.length) { remember(); mask = next.slice(); changed(); } } });
  box.empty = () => painted() === 0;
  box.control = canvas;
  return box;
}
