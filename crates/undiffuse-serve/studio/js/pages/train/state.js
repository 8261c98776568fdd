// A run's state and facts in words.

import { h } from "../../lib/dom.js";
import { base, count, duration, some } from "../../lib/words.js";

/** State → what its badge says, how it looks, what it means. */
export const STATES = {
  training: { words: "training", look: "live", means: "It learns right now." },
  finished: { words: "finished", look: "good", means: "It has reached its length." },
  stopped: { words: "stopped", look: "warn", means: "It was stopped before its length; it can be resumed." },
  diverged: { words: "diverged", look: "bad", means: "Its loss grew without bound; the doctor below says more." },
  empty: { words: "empty", look: "", means: "It has seen no picture yet." },
};

/** The badge of a run's state. */
export function badge(run) {
  const { words, look, means } = STATES[run.state] ?? { words: run.state, look: "", means: "" };
  return h("span", { class: `badge ${look}`, title: means }, words);
}

/** What is trained on what: "quick on fashion-mnist". */
export const recipe = (run) => [run.preset, run.data && base(run.data)].filter(Boolean).join(" on ");

/** How much of its length a run has done, from 0 to 1; null when its length is unknown. */
export const share = (run) => (run.until ? Math.min(1, run.images / run.until) : null);

/** Seconds that are left; null when unknown or when it does not train. */
export const left = (run) =>
  run.state === "training" && run.seconds_left !== undefined ? run.seconds_left
  : run.state === "training" && run.until && run.images_per_second > 0 ? Math.max(0, run.until - run.images) / run.images_per_second : null;

/** "18,944 of 150,592 pictures". */
export const seen = (run) => (run.until && run.images < run.until ? `${count(run.images)} of ${some(run.until, "picture")}` : some(run.images, "picture"));

/** A bar of how far a run is, with words that a screen reader says; null when its length is unknown. */
export function bar(run) {
  const done = share(run);
  if (done === null) return null;
  const rest = left(run);
  return h("progress", { max: 1, value: done, ariaLabel: `${run.id}: ${seen(run)}${rest === null ? "" : `, ${duration(rest)} left`}` });
}

/** The address of a run's page. */
export const address = (...runs) => `#/train/${runs.map(encodeURIComponent).join("/")}`;

/** The address of a run's part of the API. */
export const api = (run, rest = "") => `/api/v1/runs/${encodeURIComponent(run)}${rest}`;

/** The address of a grid of samples. */
export const grid = (run, images) => api(run, `/samples/${images}`);

/** Calls `f` at once and then again `seconds` after it has ended, while the page is seen; returns what stops it. */
export function repeated(f, seconds) {
  let timer, stopped = false;
  const again = async () => {
    clearTimeout(timer);
    if (!document.hidden) await f();
    if (!stopped) timer = setTimeout(again, seconds * 1000);
  };
  const woken = () => { if (!document.hidden) again(); };
  document.addEventListener("visibilitychange", woken);
  again();
  return () => { stopped = true; clearTimeout(timer); document.removeEventListener("visibilitychange", woken); };
}
