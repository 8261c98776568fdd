// Pictures on demand: settings at the left, what is made of them at the right.

import { constant, loras as askLoras, models as askModels } from "../lib/api.js";
import { h, notice, show } from "../lib/dom.js";
import { pasted, settingsOf } from "../lib/picture.js";
import { settingsForm } from "./generate/form.js";
import { caption, card, waitingCard } from "./generate/gallery.js";
import { ended, follow } from "./generate/jobs.js";
import { restored, translated } from "./generate/restore.js";
import { copied, pictureView } from "./generate/view.js";
import { curl, pictures, sentence, settingsOfJob, settingsOfPicture } from "./generate/words.js";

export const title = "Generate";

/** What jobs of this visit were started from: the service does not give these pictures back. */
const starts = new Map();

/** What the form started from when the page was left. */
let start = null;

export function page(root, asked) {
  const body = h("div", {}, h("p", { class: "faint" }, "Looking for models…"));
  root.append(h("div", { class: "generate" }, h("h1", {}, title),
    h("p", { class: "lead" }, "New pictures from noise. A picture depends on its seed and its settings alone: the same ones give it again."), body));
  let leave = () => {};
  let left = false;

  const begin = async () => {
    try {
      const [models, loras, parts, about] = await Promise.all([askModels(), askLoras(), constant("parts"), constant("about")]);
      if (left) return;
      if (models.length === 0) {
        show(body, h("div", { class: "empty" }, h("p", {}, "There is no model yet."), h("p", {}, "Train one on the page ", h("a", { href: "#/train" }, "Train"), ", or start the service with one: ", h("code", {}, "undiffuse serve MODEL"))));
      } else leave = studio(body, { models, loras, parts, about, asked });
    } catch (e) {
      show(body, h("div", { class: "notice bad", role: "alert" }, h("p", {}, e.message), h("button", { type: "button", onclick: begin }, "Try again")));
    }
  };
  begin();
  return () => { left = true; leave(); };
}

function studio(body, { models, loras, parts, about, asked }) {
  const waiting = new Set();
  const cards = new Map();
  const said = h("div", { class: "visually-hidden", role: "status" });
  const list = h("div", { class: "stack jobs" });
  const empty = h("div", { class: "empty", hidden: true }, "Nothing has been made yet. Press Generate, or drop a picture that undiffuse or AUTOMATIC1111’s interface made: its settings fill the form.");
  const older = h("button", { type: "button", hidden: true, onclick: () => jobs.older().then(more, (e) => notice(e.message, "bad")) }, "Show older ones");
  const call = h("pre", { tabIndex: 0, role: "region", ariaLabel: "The command" });
  const asCall = h("details", { class: "call", ontoggle: () => tellCall() }, h("summary", {}, "As an API call"),
    h("div", { class: "stack" }, call,
      h("div", { class: "row" }, h("button", { type: "button", class: "small", onclick: () => copied(curl(form.request(), { token: about.token_required }), "The command") }, "Copy"),
        h("a", { href: "/api/openapi.json" }, "All that the API can do"))));
  const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", class: "visually-hidden", tabIndex: -1, ariaLabel: "A picture to take settings from", onchange: () => { if (file.files[0]) restore(file.files[0]); file.value = ""; } });
  const restoring = h("div", { class: "restoring", role: "status" });
  const form = settingsForm({ models, loras, parts, limits: about.limits, onsubmit: generate, onchange: (form) => { if (asCall.open) tellCall(); tellAddress(form.model); } });

  /** The address names the model, so that a link or a reload has it. */
  function tellAddress({ id }) {
    const address = `#/generate/${encodeURIComponent(id)}`;
    if (location.hash !== address) history.replaceState(null, "", address);
  }

  const modelOf = ({ model }) => models.find(({ id }) => id === model);
  const acts = {
    batch: about.limits.batch,
    model: modelOf,
    all: () => jobs.all(),
    open: (job, index) => view.look(job, index),
    use: (job, made) => fill(job, made),
    again: (job) => (job.from_image && !starts.has(job.id) ? null : () => repeat(job)),
    cancel: (job) => jobs.cancel(job.id).catch((e) => { notice(e.message, "bad"); throw e; }),
    remove: (job) => jobs.remove(job.id).then(() => notice("Deleted.", "good"), (e) => notice(e.message, "bad")),
    start: (made, mode) => fetch(made.url).then((r) => r.blob()).then((blob) => startFrom(blob, mode)).catch(() => notice("The picture is not there any more.", "bad")),
    closed: (job, index) => cards.get(job.id)?.focusPicture(index),
  };
  const view = pictureView(acts);

  const jobs = follow({
    onjob: (job) => {
      const there = cards.get(job.id);
      if (there) {
        if (ended(job) && there.dataset.state !== job.state && mine.has(job.id)) tell(job);
        there.update(job);
      } else {
        const made = card(job, acts);
        cards.set(job.id, made);
        const next = jobs.all().find((other) => other.created < job.created && cards.has(other.id));
        list.insertBefore(made, next ? cards.get(next.id) : null);
      }
      cards.get(job.id).dataset.state = job.state;
      empty.hidden = true;
    },
    onprogress: (job, progress) => cards.get(job.id)?.progress(progress),
    onlost: (job) => cards.get(job.id)?.lost(),
    ongone: (id) => {
      const gone = cards.get(id);
      const held = gone?.contains(document.activeElement);
      gone?.remove();
      cards.delete(id);
      empty.hidden = cards.size + waiting.size > 0;
      if (held) heading.focus();
    },
  });
  const mine = new Set();
  const more = (there) => { older.hidden = !there; };

  const WORDS = { done: (job) => `${pictures(job.n)} ready.`, failed: (job) => `The job failed. ${sentence(job.error?.detail ?? "")}`, cancelled: () => "The job is cancelled." };
  const tell = (job) => { said.textContent = WORDS[job.state](job); };

  function tellCall() {
    call.textContent = curl(form.request(), { token: about.token_required, abridged: true });
  }

  /** Sends a request; `from` is what it starts from. */
  async function send(request, from) {
    const stop = new AbortController();
    let held = null;
    const drop = () => { waiting.delete(stop); held?.remove(); empty.hidden = cards.size + waiting.size > 0; };
    waiting.add(stop);
    try {
      const job = await jobs.submit(request, { signal: stop.signal, onwait: (seconds) => {
        if (!held) {
          held = waitingCard(request.n ?? 1, () => stop.abort());
          list.prepend(held);
          said.textContent = "The queue is full. The service is asked again until there is room.";
          empty.hidden = true;
        }
        held.wait(seconds);
      } });
      mine.add(job.id);
      if (from) { starts.set(job.id, from); cards.get(job.id)?.update(job); }
      if (!ended(job)) said.textContent = "The job is taken.";
      return job;
    } finally {
      drop();
    }
  }

  async function generate() {
    if (form.missing()) return;
    try {
      const job = await send(form.request(), form.start.kept);
      form.next();
      // The new card is at the top of the list: on a narrow screen below the form, otherwise above whoever has scrolled down.
      const { top } = cards.get(job.id).getBoundingClientRect();
      if (top < 0 || top > innerHeight * 0.8) cards.get(job.id)?.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    } catch (e) {
      if (e.name !== "AbortError") form.blame(e);
    }
  }

  async function repeat(job) {
    const s = settingsOfJob(job, modelOf(job));
    const last = Math.max(...(job.request.seeds ?? [s.seed + job.n - 1]));
    const { seeds, mask, init_image, ...request } = job.request;
    const kept = starts.get(job.id);
    try {
      await send({ ...request, model: job.model, n: job.n, seed: last + 1, ...kept?.request }, kept);
    } catch (e) {
      if (e.name !== "AbortError") notice(sentence(e.message), "bad");
    }
  }

  /** A job's settings, or one picture's, into the form. */
  function fill(job, made) {
    const settings = made ? settingsOfPicture(job, made, modelOf(job)) : settingsOfJob(job, modelOf(job));
    const notes = modelOf(job) ? [] : [`The model “${job.model}” is not here any more: the rest is set, for the model that is chosen.`];
    const kept = starts.get(job.id) ?? null;
    notes.push(...form.set({ width: null, height: null, ...settings }));
    if (job.from_image && !kept) {
      notes.push("It was started from a picture that is not kept: give that one under “Start from”.");
      form.set({ from: job.request.mask ? "paint" : "picture", strength: settings.strength });
    } else form.start.keep(kept);
    form.ready();
    answered(made ? ["The form has the settings of ", h("bdi", {}, caption(made)), "."] : "The form has the settings of this job.", notes);
  }

  /** Says what became of the form, where it can be seen, and brings it into view. */
  function answered(words, notes = [], buttons = []) {
    show(restoring, h("div", { class: `notice ${notes.length ? "warn" : "good"}` },
      h("p", {}, words), notes.map((note) => h("p", {}, note)), buttons.length ? h("div", { class: "row" }, buttons) : null));
    if (restoring.getBoundingClientRect().top < 0) restoring.scrollIntoView({ block: "start" });
  }

  async function startFrom(blob, mode) {
    if (await form.start.take(blob, mode)) {
      answered(mode === "paint" ? "Paint over what is to be repainted, then press Generate." : "The walk starts from this picture: set how far back it goes with Strength.");
      form.start.control.focus();
    }
  }

  /** A picture dropped anywhere: its settings, if it carries any. */
  async function restore(png) {
    const found = await settingsOf(png);
    if (!found) {
      answered(`${png.name || "This picture"} carries no settings.`, [], [
        h("button", { type: "button", class: "small", onclick: () => startFrom(png, "picture") }, "Start from it"),
        h("button", { type: "button", class: "small", onclick: () => startFrom(png, "paint") }, "Paint into it"),
      ]);
      return;
    }
    let had;
    try {
      had = found.facts ? restored(found.facts, models) : await translated(found.parameters, form.model);
    } catch (e) {
      notice(sentence(e.message), "bad");
      return;
    }
    const { settings, notes } = had;
    notes.push(...form.set({ width: null, height: null, ...settings }));
    answered(`The form has the settings of ${png.name || "the picture"}.`, notes);
  }

  // Files dragged over the page: a veil says what dropping does.
  const veil = h("div", { class: "veil", hidden: true }, h("span", {}, "Drop a picture: its settings fill the form"));
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let leaving = 0;
  const over = (event) => {
    if (!files(event)) return;
    event.preventDefault();
    clearTimeout(leaving);
    // The place for a picture to start from is for that.
    veil.hidden = Boolean(event.target.closest?.(".start"));
    leaving = setTimeout(() => { veil.hidden = true; }, 400);
  };
  const dropped = (event) => {
    veil.hidden = true;
    const png = [...(event.dataTransfer?.files ?? [])].find((f) => f.type.startsWith("image/"));
    if (!png || event.defaultPrevented && event.target.closest?.(".start")) return;
    event.preventDefault();
    restore(png);
  };
  const hide = () => { veil.hidden = true; };
  const escape = (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const held = [...waiting].pop();
    if (held) { held.abort(); return; }
    const newest = jobs.all().find((job) => !ended(job) && mine.has(job.id));
    if (newest) cards.get(newest.id)?.cancel();
  };
  addEventListener("dragover", over);
  addEventListener("drop", dropped);
  addEventListener("drop", hide, true);
  addEventListener("keydown", escape);
  const stopPasting = pasted(restore);
  const clock = setInterval(() => cards.forEach((one) => one.tick()), 30000);

  const heading = h("h2", { tabIndex: -1 }, "Pictures");
  show(body, h("div", { class: "split" },
    h("div", { class: "stack aside" }, form, asCall),
    h("div", { class: "stack results" },
      h("div", { class: "row head" }, heading, h("button", { type: "button", class: "small", onclick: () => file.click() }, "Settings from a picture…"), file),
      restoring, empty, list, older)), view, veil, said);
  if (start) form.start.keep(start);
  if (asked && models.some(({ id }) => id === asked)) form.model = asked;
  else if (asked) answered(`The model “${asked}” is not here.`, ["Choose another one."]);

  jobs.load().then((there) => { more(there); empty.hidden = cards.size + waiting.size > 0; },
    (e) => show(restoring, h("div", { class: "notice bad" }, e.message)));

  return () => {
    start = form.start.kept;
    jobs.stop();
    waiting.forEach((one) => one.abort());
    clearInterval(clock);
    stopPasting();
    view.close();
    removeEventListener("dragover", over);
    removeEventListener("drop", dropped);
    removeEventListener("drop", hide, true);
    removeEventListener("keydown", escape);
  };
}
