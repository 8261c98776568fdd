// A slider that can play: time, steps, anything with an order.

import { h } from "./dom.js";
import { sliderField } from "./field.js";

/**
 * A slider over 0…`last` with a button that plays it in `seconds`. `onmove(at)` is called for every move; while it plays `at` may lie between
 * two steps. `format(at)` says in words where it is. Returned are `value`, `range(last)`, `play()`, `stop()` and `playing`.
 */
export function player({ label, format, onmove, onhand, last = 1, seconds = 5 }) {
  const slider = sliderField(label, { min: 0, max: last, format, oninput: (v) => { stop(); onhand?.(); move(v); } });
  // What it says while it plays is for eyes; whoever moves it by hand hears the slider.
  slider.querySelector("output").setAttribute("aria-live", "off");
  const button = h("button", { type: "button", class: "primary play", onclick: () => (box.playing ? stop() : play()) }, "Play");
  const box = h("div", { class: "player" }, button, slider);
  let at = 0;
  let ticking = 0;

  const move = (to) => {
    at = Math.min(Math.max(to, 0), last);
    onmove(at);
  };
  const stop = () => {
    cancelAnimationFrame(ticking);
    box.playing = false;
    button.textContent = "Play";
  };
  const play = () => {
    if (box.playing || last < 1) return;
    onhand?.();
    if (at >= last) move(0);
    box.playing = true;
    button.textContent = "Pause";
    let before = performance.now();
    const tick = (now) => {
      move(at + ((now - before) / 1000 / seconds) * last);
      before = now;
      slider.value = Math.round(at);
      if (at >= last) stop();
      else ticking = requestAnimationFrame(tick);
    };
    ticking = requestAnimationFrame(tick);
  };
  slider.control.addEventListener("keydown", (event) => {
    if (event.key === " ") { event.preventDefault(); button.click(); }
  });
  Object.defineProperty(box, "value", { get: () => at, set: (to) => { at = Math.min(Math.max(to, 0), last); slider.value = Math.round(at); } });
  Object.assign(box, {
    playing: false,
    play,
    stop,
    slider,
    range: (to) => { last = to; slider.range(0, Math.max(to, 1)); button.disabled = to < 1; box.value = Math.min(at, to); },
  });
  return box;
}
