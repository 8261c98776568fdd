// One walk of a sampler, as its frames come in, and two of them beside each other.

import { get, remove, run } from "../../lib/api.js";

/** How far a level is along the way: its log-SNR, which rises from -Infinity (noise) to Infinity (picture). */
const along = ({ alpha, sigma }) => (alpha <= 0 ? -Infinity : sigma <= 0 ? Infinity : 2 * Math.log(alpha / sigma));

async function drawn(url) {
  if (!url) return null;
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/**
 * Asks for a walk with all its frames. Returned at once: `{ frames, rows, state, done }`; `frames` grow as they come, in their order, with
 * `x` and `denoised` as images and `way`, the furthest log-SNR so far. `changed()` is called for each. `done` is a promise of the
 * finished walk with `seconds`. The service forgets the job then: a walk is for looking at.
 */
export function walk(request, changed, signal) {
  const walk = { frames: [], rows: 0, state: "queued", seconds: null };
  let chain = Promise.resolve();
  let began = performance.now();
  const add = async (frame) => {
    // The service tells what was before again when a connection was lost.
    if (frame.row <= (walk.frames.at(-1)?.row ?? -1)) return;
    const [x, denoised] = await Promise.all([drawn(frame.x), drawn(frame.denoised)]);
    const way = Math.max(along(frame), walk.frames.at(-1)?.way ?? -Infinity);
    walk.frames.push({ ...frame, x, denoised, way, log_snr: along(frame) });
    walk.rows = frame.rows;
    changed();
  };
  let id = null;
  walk.done = run({ ...request, n: 1, frames: true }, {
    state: (job) => {
      if (walk.state !== "running" && job.state === "running") began = performance.now();
      id = job.id;
      // Done it is when its last frame is there.
      Object.assign(walk, { state: job.state === "done" ? "running" : job.state, rows: job.rows || walk.rows, position: job.position, lost: false });
      changed();
    },
    lost: () => { walk.lost = true; changed(); },
    frame: (frame) => { chain = chain.then(() => add(frame)); },
  }, signal).then(async (job) => {
    await chain;
    // A slow reader may have missed some.
    if (job.state === "done" && walk.frames.length <= walk.rows) {
      const { frames } = await get(`/api/v1/jobs/${id}/frames`);
      walk.frames = [];
      for (const frame of frames) await add(frame);
    }
    walk.seconds = job.started && job.finished ? job.finished - job.started : (performance.now() - began) / 1000;
    walk.state = job.state;
    changed();
    return walk;
  }).finally(() => id && remove(`/api/v1/jobs/${id}`).catch(() => {}));
  return walk;
}

/**
 * What the model takes frame `k` for: the guess that the next step goes by. Until that is there, and at the end, the last one.
 */
export const guess = ({ frames }, k) => frames[k + 1]?.denoised ?? frames[k]?.denoised ?? null;

/**
 * The moments that a slider steps through: each is a frame's index for every walk. One walk has its frames; two are shown at the same
 * noise level, each with the last frame that is not beyond it.
 */
export function moments(walks) {
  const there = walks.filter((w) => w.frames.length);
  if (!there.length) return [];
  if (there.length === 1) return there[0].frames.map((_, k) => walks.map((w) => (w === there[0] ? k : -1)));
  const ways = [...new Set(there.flatMap((w) => w.frames.map((f) => f.way)))].sort((a, b) => a - b);
  // Levels that differ by rounding only are one.
  const levels = ways.filter((w, k) => !(ways[k + 1] - w < 1e-6));
  return levels.map((level) => walks.map((w) => Math.max(w.frames.findLastIndex((f) => f.way <= level + 1e-6), 0)));
}
