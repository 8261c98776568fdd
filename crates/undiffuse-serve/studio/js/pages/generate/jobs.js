// Jobs of the service as they change: the latest ones followed live, the others asked after now and then.

import { get, listen, post, remove } from "../../lib/api.js";

/** Streams at a time: a browser has six connections to a service, and pictures need some. */
const STREAMS = 2;
const POLL = 1500;
const PAGE = 20;

/** Whether nothing will change any more. */
export const ended = (job) => ["done", "failed", "cancelled"].includes(job.state);

const wait = (ms, signal) => new Promise((resolve, reject) => {
  const stop = () => { clearTimeout(timer); reject(new DOMException("stopped", "AbortError")); };
  const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, ms);
  signal?.addEventListener("abort", stop, { once: true });
});

/**
 * Follows the jobs there are. `onjob(job)` is called whenever one is new or has changed, `onprogress(job, progress)` while it runs, `onlost(job)` when the
 * service is silent, `ongone(id)` when it was deleted.
 */
export function follow({ onjob, onprogress, onlost, ongone }) {
  const known = new Map();
  const streams = new Map();
  let oldest = null; // id of the last job that was listed
  let stopped = false;

  const active = () => [...known.values()].filter((job) => !ended(job));

  function take(job) {
    if (stopped || job.request.frames) return; // those with frames belong to the page Ink
    const before = known.get(job.id);
    // An answer that was under way while the job ended tells old news.
    if (before && ended(before) && !ended(job)) return;
    known.set(job.id, job);
    if (ended(job)) close(job.id);
    onjob(job);
  }

  function forget(id) {
    close(id);
    if (known.delete(id)) ongone(id);
  }

  function close(id) {
    streams.get(id)?.();
    streams.delete(id);
  }

  const again = (id) => get(`/api/v1/jobs/${id}`).then(take, (e) => { if (e.status === 404) forget(id); });

  function attend() {
    for (const job of active().sort((a, b) => (b.state === "running") - (a.state === "running") || a.created - b.created)) {
      if (streams.size >= STREAMS) break;
      if (streams.has(job.id)) continue;
      streams.set(job.id, listen(`/api/v1/jobs/${job.id}/events`, {
        state: (job) => { take(job); if (ended(job)) attend(); },
        progress: (progress) => { const now = known.get(job.id); if (now && !ended(now)) onprogress(now, progress); },
        image: (made) => {
          const now = known.get(job.id);
          if (!now || now.images.some(({ index }) => index === made.index)) return;
          const images = [...now.images, made].sort((a, b) => a.index - b.index);
          take({ ...now, images, done: Math.max(now.done, images.length) });
        },
        // The browser connects again by itself, unless the service refused.
        lost: (closed) => { onlost(job); if (closed) { close(job.id); again(job.id); } },
      }));
    }
  }

  async function list(before) {
    const { jobs } = await get(`/api/v1/jobs?limit=${PAGE}${before ? `&before=${encodeURIComponent(before)}` : ""}`);
    if (before || !oldest) oldest = jobs.at(-1)?.id ?? oldest;
    jobs.forEach(take);
    attend();
    return jobs;
  }

  const timer = setInterval(() => {
    if (document.hidden || !active().some(({ id }) => !streams.has(id))) return;
    active().filter(({ id }) => !streams.has(id)).slice(0, 8).forEach(({ id }) => again(id));
    attend();
  }, POLL);
  const returned = () => { if (!document.hidden) list().catch(() => {}); };
  document.addEventListener("visibilitychange", returned);

  return {
    /** The newest jobs; rejects when the service cannot be asked. Resolves to whether there may be older ones. */
    load: async () => (await list()).length === PAGE,
    /** Those before the oldest known one. */
    older: async () => (await list(oldest)).length === PAGE,
    /** Submits, again and again while the queue is full; `onwait(seconds)` hears how long until the next try. */
    submit: async (request, { signal, onwait }) => {
      for (;;) {
        try {
          const job = await post("/api/v1/jobs", request, signal);
          take(job);
          attend();
          return job;
        } catch (e) {
          if (e.status !== 429) throw e;
          const seconds = Math.min(Math.max(e.body?.retry_after ?? 2, 1), 60);
          for (let left = seconds; left > 0; left--) {
            onwait(left);
            await wait(1000, signal);
          }
        }
      }
    },
    cancel: (id) => post(`/api/v1/jobs/${id}/cancel`).then(take),
    remove: (id) => remove(`/api/v1/jobs/${id}`).then(() => forget(id), (e) => { if (e.status === 404) forget(id); else throw e; }),
    get: (id) => known.get(id),
    /** All of them, the newest first. */
    all: () => [...known.values()].sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1)),
    active,
    stop: () => { stopped = true; clearInterval(timer); document.removeEventListener("visibilitychange", returned); [...streams.keys()].forEach(close); },
  };
}
