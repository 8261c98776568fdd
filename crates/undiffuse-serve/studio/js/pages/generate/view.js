// One picture, large, with all that made it; its neighbours are an arrow key away.

import { h, notice, show } from "../../lib/dom.js";
import { factor } from "./fit.js";
import { caption, enlarge, sizeOf } from "./gallery.js";
import { described, settingsOfPicture, shows } from "./words.js";

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is only the old way.
    const box = h("textarea", { class: "visually-hidden", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    if (!done) throw new Error("The browser does not let pages copy.");
  }
}

/** Copies and says so. */
export const copied = (text, what) => copy(text).then(() => notice(`${what} is copied.`, "good"), (e) => notice(e.message, "bad"));

/** `/path` as a whole address. */
export const whole = (path) => new URL(path, location.href).href;

/**
 * The dialog. `acts`: all() → jobs, the newest first; model(job); use(job, made), start(made, mode); closed(job, index) when it is closed. `.look(job, index)` opens it.
 */
export function pictureView(acts) {
  const title = h("h2", { id: "picture-title", "aria-live": "polite" });
  const place = h("span", { class: "faint" });
  const img = h("img", { class: "pixels large" });
  const facts = h("dl", { class: "recipe" });
  const before = h("button", { type: "button", class: "small", onclick: () => go(-1) }, "← Before");
  const after = h("button", { type: "button", class: "small", onclick: () => go(1) }, "After →");
  const save = h("a", { class: "button" }, "Download PNG");
  const leave = (f) => () => { left = true; dialog.close(); f(); };
  const dialog = h("dialog", { class: "picture-view", "aria-labelledby": title.id },
    h("div", { class: "row head" }, title, place, h("button", { type: "button", class: "small close", ariaLabel: "Close", onclick: () => dialog.close() }, "×")),
    h("div", { class: "sides" },
      h("div", { class: "stack" }, img, h("div", { class: "row" }, before, after)),
      h("div", { class: "stack" }, facts,
        h("button", { type: "button", class: "primary", onclick: leave(() => acts.use(shown.job, shown.made)) }, "Use these settings"),
        h("button", { type: "button", onclick: leave(() => acts.start(shown.made, "picture")) }, "Start from it"),
        h("button", { type: "button", onclick: leave(() => acts.start(shown.made, "paint")) }, "Paint into it"),
        save,
        h("button", { type: "button", onclick: () => copied(whole(shown.made.url), "The link") }, "Copy link"))));

  let shown = null;
  let left = false; // for something else, which takes the focus
  const everything = () => acts.all().flatMap((job) => job.images.map((made) => ({ job, made })));
  const position = (list) => list.findIndex(({ job, made }) => job.id === shown.job.id && made.index === shown.made.index);

  function draw() {
    const { job, made } = shown;
    const list = everything();
    const k = position(list);
    show(title, h("bdi", {}, caption(made).replace(/^./, (letter) => letter.toUpperCase())));
    place.textContent = `${k + 1} of ${list.length}`;
    before.disabled = k <= 0;
    after.disabled = k >= list.length - 1;
    const room = Math.max(64, Math.min(448, innerWidth - 80, innerHeight - 220));
    const model = acts.model(job);
    const [width, height] = sizeOf(job, model);
    const scale = factor(Math.max(width, height), room);
    // Its place is kept before it comes: buttons stay where they are.
    Object.assign(img, { width: Math.round(width * scale), height: Math.round(height * scale), src: made.url, alt: `The picture of ${caption(made)}` });
    enlarge(img, room);
    Object.assign(save, { href: made.url, download: `${job.model}-${String(made.seed).padStart(8, "0")}${shows(made) ? `-${shows(made).replace(/[^\w.-]+/g, "_").slice(0, 60)}` : ""}.png` });
    show(facts, described(settingsOfPicture(job, made, model), model).map(([name, value]) => [h("dt", {}, name), h("dd", {}, h("bdi", {}, value))]));
  }

  function go(by) {
    const list = everything();
    const next = list[position(list) + by];
    if (!next) return;
    shown = next;
    draw();
  }

  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); go(by); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (!left) acts.closed(shown.job, shown.made.index); });
  dialog.look = (job, index) => {
    shown = { job, made: job.images.find((made) => made.index === index) };
    left = false;
    draw();
    dialog.showModal();
  };
  return dialog;
}
