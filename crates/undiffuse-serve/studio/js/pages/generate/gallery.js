// Jobs as cards, the newest first: what is being made, what was made, and what can be done with it.

import { h, show } from "../../lib/dom.js";
import { ago } from "../../lib/words.js";
import { factor } from "./fit.js";
import { ended } from "./jobs.js";
import { asksInShort, briefly, differ, inShort, lasting, pictures, sentence, shows } from "./words.js";

/** Pictures of a job that are shown at once. */
const SHOWN = 48;
/** Room for a small picture: three beside each other on a phone. */
const thumbRoom = () => (innerWidth < 576 ? 84 : 128);

const STATES = { queued: ["waits", ""], running: ["at work", "live"], done: ["done", "good"], failed: ["failed", "bad"], cancelled: ["cancelled", "warn"] };

/** A picture's size on the screen: its pixels by a whole factor to fill `room`, or shrunk to it. */
export function enlarge(img, room) {
  const fit = () => {
    const k = factor(Math.max(img.naturalWidth, img.naturalHeight), room);
    Object.assign(img, { width: Math.round(img.naturalWidth * k), height: Math.round(img.naturalHeight * k) });
    img.classList.toggle("pixels", k >= 1);
  };
  if (img.complete && img.naturalWidth) fit();
  else img.addEventListener("load", fit, { once: true });
  return img;
}

/** Width and height of a job's pictures, which may not be there yet. */
export function sizeOf({ request }, model) {
  const [, height, width] = model?.shape ?? [1, 32, 32];
  return [request.width ?? width, request.height ?? height];
}

/** What a picture shows, in words. */
export const caption = (made) => [briefly(shows(made))?.textContent, `seed ${made.seed}`].filter(Boolean).join(", ");

/**
 * A card. `acts` holds what its buttons do: open(job, index), use(job), again(job) → or null where it cannot, cancel(job), remove(job), model(job) → the
 * model's description, batch → pictures made at a time. `.update(job)`, `.progress(progress)` and `.lost()` change it.
 */
export function card(job, acts) {
  const title = h("h3", { id: `job-${job.id}-title` });
  const badge = h("span", { class: "badge" });
  const when = h("span", { class: "faint when" });
  const asked = h("p", { class: "asked" });
  const line = h("p", { class: "faint line" });
  const bar = h("progress", { max: 1, value: 0, ariaLabel: "Progress" });
  const state = h("div", { class: "faint" });
  const preview = h("img", { class: "pixels preview", alt: "What the model takes the pictures for so far", hidden: true });
  const cancel = h("button", { type: "button", class: "small", title: "Esc", onclick: () => { cancel.disabled = true; acts.cancel(now).catch(() => { cancel.disabled = false; }); } }, "Cancel");
  const working = h("div", { class: "working stack" }, h("div", { class: "row" }, bar, cancel), state, preview);
  const grid = h("div", { class: "pictures" });
  const rest = h("button", { type: "button", class: "small", onclick: () => { all = true; grow(); } });
  const trouble = h("div", { class: "notice bad", hidden: true });
  const notes = h("div", { class: "notice warn", hidden: true });
  const buttons = h("div", { class: "row buttons" });
  const box = h("article", { class: "job", id: `job-${job.id}`, "aria-labelledby": title.id, dataset: { job: job.id } },
    h("div", { class: "row head" }, title, badge, when), asked, line, notes, working, grid, rest, trouble, buttons);

  let now = job;
  let all = false;
  let progress = null;
  const thumbs = new Map();

  function grow() {
    for (const made of all ? now.images : now.images.slice(0, SHOWN)) {
      if (thumbs.has(made.index)) continue;
      const [width, height] = sizeOf(now, acts.model(now));
      const k = factor(Math.max(width, height), thumbRoom());
      // Its place is kept before it comes.
      const img = enlarge(h("img", { class: "pixels", width: Math.round(width * k), height: Math.round(height * k), src: made.url, alt: "", loading: "lazy", decoding: "async" }), thumbRoom());
      const thumb = h("button", { type: "button", class: "thumb", dataset: { index: made.index }, onclick: () => acts.open(now, made.index) },
        img, differ(now) && shows(made) && h("span", { class: "what" }, briefly(shows(made))), h("span", { class: "faint seed" }, `seed ${made.seed}`));
      thumbs.set(made.index, thumb);
      const after = [...grid.children].find((other) => Number(other.dataset.index) > made.index) ?? null;
      grid.insertBefore(thumb, after);
    }
    const left = now.images.length - thumbs.size;
    rest.hidden = left <= 0;
    rest.textContent = `Show ${left} more`;
    grid.hidden = thumbs.size === 0;
  }

  function tellProgress() {
    if (now.state === "queued") {
      bar.removeAttribute("value");
      state.textContent = now.position ? `${now.position === 1 ? "One job is" : `${now.position} jobs are`} before this one.` : "It is next.";
      return;
    }
    const { done = now.done, row = 0, rows = now.rows } = progress ?? {};
    const making = Math.min(now.n - done, acts.batch);
    const share = Math.min(1, (done + (rows ? (making * row) / rows : 0)) / now.n);
    bar.value = share;
    const passed = now.started ? Date.now() / 1000 - now.started : 0;
    const left = share > 0.02 && passed > 1 ? (passed / share) * (1 - share) : 0;
    state.textContent = [row ? `Evaluation ${row} of ${rows}` : "It begins", now.n > 1 ? `${done} of ${pictures(now.n)} ready` : null, left > 3 ? `about ${lasting(left)} left` : null].filter(Boolean).join(" · ");
  }

  function act() {
    const confirm = () => {
      const keep = h("button", { type: "button", class: "small", onclick: () => { act(); buttons.querySelector(".danger").focus(); } }, "Keep");
      show(buttons, h("span", {}, now.images.length ? `Delete ${now.images.length === 1 ? "this picture" : `these ${pictures(now.images.length)}`} for good?` : "Delete this job?"),
        h("button", { type: "button", class: "small danger", onclick: () => acts.remove(now) }, "Delete"), keep);
      keep.focus();
    };
    show(buttons,
      h("button", { type: "button", class: "small", onclick: () => acts.use(now) }, "Use these settings"),
      acts.again(now) && h("button", { type: "button", class: "small", onclick: () => acts.again(now)() }, "Again with new seeds"),
      now.images.length > 0 && h("a", { class: "button small", href: `/api/v1/jobs/${now.id}/images.zip`, download: `${now.model}-${now.id}.zip` }, "Download ZIP"),
      h("button", { type: "button", class: "small danger", onclick: confirm }, "Delete"));
  }

  box.update = (next) => {
    const before = now;
    now = next;
    title.textContent = `${pictures(now.n)} of ${now.model}`;
    const [words, kind] = STATES[now.state];
    badge.textContent = words;
    badge.className = `badge ${kind}`;
    badge.hidden = now.state === "done";
    show(asked, asksInShort(now));
    show(line, inShort(now, acts.model(now)));
    box.tick();
    grow();
    working.hidden = ended(now);
    notes.hidden = !now.notes?.length;
    show(notes, now.notes?.map((note) => h("p", {}, briefly(sentence(note), 400))) ?? []);
    trouble.hidden = now.state !== "failed";
    trouble.textContent = sentence(now.error?.detail ?? "it failed, and the service did not say why");
    if (ended(now)) preview.hidden = true;
    else tellProgress();
    buttons.hidden = !ended(now);
    if (ended(now) && (!ended(before) || !buttons.firstChild)) act();
  };
  box.progress = (next) => {
    progress = next;
    if (next.preview) {
      preview.src = next.preview;
      preview.hidden = false;
      enlarge(preview, 320);
    }
    tellProgress();
  };
  box.lost = () => { if (!ended(now)) state.textContent = "The service is silent; it is being asked again."; };
  /** Time passes. */
  box.tick = () => {
    const took = now.started && now.finished && now.state === "done" ? `, made in ${lasting(now.finished - now.started)}` : "";
    when.textContent = `${ago(now.created)}${took}`;
    when.title = new Date(now.created * 1000).toLocaleString();
  };
  box.cancel = () => cancel.click();
  box.focusPicture = (index) => thumbs.get(index)?.focus();
  box.update(job);
  return box;
}

/** A card in the place of a job that the service does not take yet. */
export function waitingCard(n, cancel) {
  const words = h("p", { role: "status" });
  const box = h("article", { class: "job" }, h("div", { class: "row head" }, h("h3", {}, pictures(n)), h("span", { class: "badge warn" }, "queue full")), words, h("div", { class: "row" }, h("button", { type: "button", class: "small", onclick: cancel }, "Do not wait")));
  // Each second for eyes, now and then for ears.
  box.wait = (seconds) => { words.textContent = `The service has as many jobs as it takes. It is asked again in ${seconds === 1 ? "a second" : `${seconds} seconds`}.`; words.setAttribute("aria-live", "off"); };
  return box;
}
