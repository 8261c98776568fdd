// The grids of samples that a run drew on its way: a slider through them, and a button that plays them.

import { short } from "../../lib/chart.js";
import { h, show } from "../../lib/dom.js";
import { sliderField } from "../../lib/field.js";
import { count } from "../../lib/words.js";
import { grid } from "./state.js";

/** Milliseconds that a grid is shown while it plays, and how long the whole film may take at most. */
const FRAME = 700;
const FILM = 15000;
/** Small pictures under the large one, at most. */
const STRIP = 7;

/** A picture in a well, enlarged by a whole number of the screen's pixels. */
function well() {
  const box = h("div", { class: "reel-well" });
  const fit = () => {
    const img = box.querySelector("img");
    if (!img?.naturalWidth) return;
    const dots = window.devicePixelRatio || 1;
    const factor = Math.floor((box.clientWidth * dots) / img.naturalWidth) / dots;
    img.style.width = factor > 0 ? `${img.naturalWidth * factor}px` : "100%";
  };
  new ResizeObserver(fit).observe(box);
  box.hang = (img) => { show(box, img); fit(); };
  return box;
}

/**
 * A reel of a run's grids: `images` are how many pictures it had seen at each. `onmove(images)` is told which one is shown. `go(images)` shows the
 * nearest, `add(images)` brings the list up to date: who looks at the last one stays at the last one.
 */
export function reel({ run, images, onmove, label = "Pictures seen" }) {
  const pictures = new Map();
  const frame = well();
  let at = Math.max(0, images.length - 1);
  let playing = null;

  const picture = (seen) => {
    if (!pictures.has(seen)) {
      pictures.set(seen, h("img", { class: "pixels", src: grid(run, seen), alt: `Samples of ${run} after ${count(seen)} pictures` }));
    }
    return pictures.get(seen);
  };
  const slider = sliderField(label, { min: 0, max: at, value: at, format: (k) => `${count(images[k])} (${k + 1} of ${images.length})`, oninput: (k) => { pause(); turn(k); } });
  const play = h("button", { type: "button", onclick: () => (playing ? pause() : start()) }, "Watch it learn");
  const strip = h("div", { class: "reel-strip", role: "group", ariaLabel: "Some of the grids" });
  const box = h("div", { class: "stack reel" }, frame, h("div", { class: "reel-controls" }, play, slider), strip);

  // The strip takes the steps that the run has: all of its grids, or some that lie evenly.
  const hang = () => {
    const some = images.length <= STRIP ? images : Array.from({ length: STRIP }, (_, k) => images[Math.round((k * (images.length - 1)) / (STRIP - 1))]);
    show(strip, images.length < 2 ? [] : some.map((seen) => h("button", { type: "button", dataset: { seen }, onclick: () => box.go(seen) },
      h("img", { class: "pixels", src: grid(run, seen), alt: "" }), h("span", {}, short(seen), h("span", { class: "visually-hidden" }, " pictures seen")))));
  };
  const mark = () => { for (const button of strip.children) button.ariaPressed = String(Number(button.dataset.seen) === images[at]); };

  const turn = async (k, told = true) => {
    at = k;
    slider.value = k;
    mark();
    const img = picture(images[k]);
    // The old grid stays until the new one can be drawn; a fast hand skips those between.
    await img.decode().catch(() => {});
    if (at !== k) return;
    frame.hang(img);
    if (told) onmove?.(images[k]);
  };
  const pause = () => {
    clearInterval(playing);
    playing = null;
    play.textContent = "Watch it learn";
  };
  const start = () => {
    images.forEach(picture);
    turn(at === images.length - 1 ? 0 : at);
    play.textContent = "Pause";
    playing = setInterval(() => (at + 1 < images.length ? turn(at + 1) : pause()), Math.min(FRAME, FILM / images.length));
  };

  box.go = (seen) => {
    pause();
    turn(images.reduce((best, v, k) => (Math.abs(v - seen) < Math.abs(images[best] - seen) ? k : best), 0));
  };
  box.add = (more) => {
    if (more.length === images.length && more.at(-1) === images.at(-1)) return;
    const last = at === images.length - 1;
    images = more;
    slider.range(0, images.length - 1);
    play.disabled = images.length < 2;
    hang();
    turn(last && !playing ? images.length - 1 : Math.min(at, images.length - 1));
  };
  box.stop = pause;
  play.disabled = images.length < 2;
  hang();
  turn(at);
  return box;
}
