// What a walk looks like at one moment: x_t and D(x_t) side by side; how two differ; the whole way as a strip of film.

import { h } from "../../lib/dom.js";
import { described } from "./settings.js";
import { guess } from "./walk.js";
import { digits } from "./words.js";

function put(canvas, image) {
  const { naturalWidth: width, naturalHeight: height } = image;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.classList.toggle("pixels", Math.max(width, height) < 200);
  canvas.getContext("2d").drawImage(image, 0, 0);
}

/** One walk: `draw(walk, k, model)` shows its frame `k`. */
export function column(letter) {
  const figure = (name, label, words) => {
    const canvas = h("canvas", { width: 1, height: 1, class: "waiting", role: "img", ariaLabel: `${label} of walk ${letter}` });
    return Object.assign(h("figure", { class: `picture ${name}` }, canvas, h("figcaption", {}, h("b", {}, label), words)), { canvas });
  };
  const x = figure("held", "x_t", ", what the walk holds");
  const taken = figure("guess", "D(x_t)", ", what the model takes it for");
  const title = h("h2", {}, letter);
  const facts = h("p", { class: "faint facts" });
  const box = h("section", { class: "column", ariaLabel: `Walk ${letter}` }, title, h("div", { class: "twins" }, x, taken), facts);
  box.heading = title;
  box.draw = (walk, k, model) => {
    const frame = walk.frames[k];
    title.textContent = `${letter}: ${described(walk.settings, model)}`;
    const parts = [frame && `σ = ${digits(frame.sigma)}, α = ${digits(frame.alpha)}`, walk.rows && `${walk.rows} evaluations`, walk.seconds !== null && `${walk.seconds.toFixed(walk.seconds < 10 ? 2 : 1)} s`];
    facts.textContent = parts.filter(Boolean).join(" · ");
    if (!frame) return;
    put(x.canvas, frame.x);
    const seen = guess(walk, k);
    if (seen) put(taken.canvas, seen);
  };
  return box;
}

/** Where two pictures differ: `draw([imageA, imageB])`. */
export function difference() {
  const canvas = h("canvas", { width: 1, height: 1, class: "waiting", role: "img", ariaLabel: "Difference of the two guesses" });
  const words = h("span", {});
  const box = h("figure", { class: "picture difference" }, canvas, h("figcaption", {}, h("b", {}, "|A − B|"), words));
  const pens = [0, 1].map(() => h("canvas", {}).getContext("2d", { willReadFrequently: true }));
  box.draw = (images) => {
    if (images.length < 2 || images.some((i) => !i)) { words.textContent = ", where the guesses differ: waiting for both"; return; }
    const { naturalWidth: width, naturalHeight: height } = images[0];
    const [a, b] = images.map((image, i) => {
      Object.assign(pens[i].canvas, { width, height });
      pens[i].drawImage(image, 0, 0, width, height);
      return pens[i].getImageData(0, 0, width, height);
    });
    let sum = 0;
    for (let i = 0; i < a.data.length; i++) {
      if (i % 4 === 3) continue;
      const d = Math.abs(a.data[i] - b.data[i]);
      sum += d;
      a.data[i] = d;
    }
    Object.assign(canvas, { width, height });
    canvas.classList.toggle("pixels", Math.max(width, height) < 200);
    canvas.getContext("2d").putImageData(a, 0, 0);
    words.textContent = `, where the guesses differ: ${digits((100 * sum) / (0.75 * a.data.length * 255))} % of the range on average`;
  };
  return box;
}

/** Moments of the whole way, small: x_t above, the guess below. `onpick(moment)` for a click. */
export function film(onpick) {
  const FRAMES = 10;
  const canvas = h("canvas", { width: 1, height: 1, role: "img", ariaLabel: "The way from noise to picture, x_t above the model's guesses", class: "pixels" });
  const mark = h("div", { class: "mark", ariaHidden: "true" });
  const box = h("div", { class: "film", hidden: true }, canvas, mark);
  let length = 0;
  let held = "";
  canvas.addEventListener("click", (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    const cells = Math.min(length, FRAMES);
    const cell = Math.min(Math.floor(((event.clientX - left) / width) * cells), cells - 1);
    onpick(cells > 1 ? Math.round((cell * (length - 1)) / (cells - 1)) : 0);
  });
  box.draw = (walks, at) => {
    length = at.length;
    box.hidden = length < 2;
    const cells = Math.min(length, FRAMES);
    const picks = Array.from({ length: cells }, (_, i) => at[cells > 1 ? Math.round((i * (length - 1)) / (cells - 1)) : 0]);
    const key = JSON.stringify(picks);
    if (!length || key === held) return;
    held = key;
    const some = walks.find((w) => w.frames.length).frames[0].x;
    const [w, h, gap] = [some.naturalWidth, some.naturalHeight, Math.max(Math.round(some.naturalWidth / 28), 1)];
    Object.assign(canvas, { width: cells * (w + gap) - gap, height: walks.length * 2 * (h + gap) - gap });
    // Few moments are not blown up.
    box.style.maxWidth = `${6.5 * cells}rem`;
    const pen = canvas.getContext("2d");
    picks.forEach((moment, i) => walks.forEach((walk, k) => {
      const frame = walk.frames[moment[k]];
      if (!frame) return;
      pen.drawImage(frame.x, i * (w + gap), 2 * k * (h + gap));
      const seen = guess(walk, moment[k]);
      if (seen) pen.drawImage(seen, i * (w + gap), (2 * k + 1) * (h + gap));
    }));
  };
  box.mark = (share) => {
    const cells = Math.min(length, FRAMES) || 1;
    mark.style.left = `${(100 * Math.round(share * (cells - 1))) / cells}%`;
    mark.style.width = `${100 / cells}%`;
  };
  return box;
}
