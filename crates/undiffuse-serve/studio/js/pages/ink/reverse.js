// The ink un-spreads: from a seed's noise to a picture, step by step; two walks beside each other.

import { at as here, keep, numberOf } from "../../lib/address.js";
import { constant, models } from "../../lib/api.js";
import { chart } from "../../lib/chart.js";
import { eachFrame, h, settled, show } from "../../lib/dom.js";
import { numberField, selectField } from "../../lib/field.js";
import { player } from "../../lib/player.js";
import { column, difference, film } from "./column.js";
import { asked, ideas, names, own, settingsFields } from "./settings.js";
import { guess, moments, walk } from "./walk.js";
import { percent, storyBack } from "./words.js";

const WHERE = "#/ink/reverse";
/** Walks that took no longer are walked again by themselves when a setting changes. */
const QUICK = 2.5;
/** Models of so many numbers take minutes: they walk when they are told to. */
const LARGE = 1e8;

const always = () => true;
/** What is said of walks: the first that holds for one of them. */
const STATUS = [
  [(w) => w.lost, () => "The service does not answer; trying again…"],
  [(w) => w.state === "queued" && w.position, (walks) => `In the queue behind ${walks.at(-1).position}.`],
  [(w) => w.state === "queued", () => "Waiting for the model…"],
  [(w) => w.state === "running", () => "Walking…"],
  [(w) => w.state === "cancelled", () => "Cancelled; what had been walked is here."],
  [(w) => w.state === "failed", () => ""],
  [always, (walks) => ["", "Done. Move the slider back and forth.", "Done: the same noise, walked in two ways. Move the slider to compare them at the same noise level."][walks.length]],
];

/** Fills `root`; `given` are settings from the address. Returns what to do when the page is left. */
export function reverse(root, given) {
  const leaving = new AbortController();
  let parts, about, known, model;
  let first, second = null; // groups of settings
  let walks = [];
  let running = null; // what aborts it
  let following = true; // until someone takes the slider
  let at = [];

  const columns = [column("A"), column("B")];
  const between = difference();
  const strip = film((moment) => pick(moment));
  const status = h("p", { class: "faint", role: "status" });
  const words = h("p", { class: "story" });
  const trouble = h("div", {});
  const curve = chart({
    title: "log-SNR after each evaluation of the network",
    xLabel: "evaluations of the network",
    height: 190,
    onpick: (row) => {
      const k = at.findIndex((_, k) => lead(k)[1].row >= Math.round(row));
      pick(k < 0 ? at.length - 1 : k);
    },
  });
  // The walk whose frame a moment is called after, and that frame.
  const lead = (k) => {
    const moment = at[Math.min(Math.round(k), at.length - 1)];
    const i = moment?.findIndex((f) => f >= 0) ?? -1;
    return i < 0 ? [0, null] : [i, walks[i].frames[moment[i]]];
  };
  const time = player({
    label: "Moment",
    last: 1,
    seconds: 4,
    format: (k) => {
      const [i, frame] = lead(k);
      return frame ? `evaluation ${frame.row} of ${walks[i].rows}, ${percent(share(frame))} signal` : "";
    },
    onhand: () => { following = false; },
    onmove: (to) => draw(to),
  });
  const go = h("button", { type: "button", class: "primary", onclick: () => (running ? running.abort() : start()) }, "Walk");

  const pick = (moment) => {
    following = false;
    time.stop();
    time.value = moment;
    draw(moment);
  };
  const draw = eachFrame((to) => {
    const moment = at[Math.min(Math.round(to), at.length - 1)];
    walks.forEach((walk, i) => columns[i].draw(walk, moment ? moment[i] : -1, model));
    between.draw(moment ? walks.map((walk, i) => guess(walk, moment[i])) : []);
    const [, frame] = lead(to);
    curve.cursor(frame?.row);
    words.textContent = frame ? storyBack(share(frame)) : "";
    strip.mark(at.length > 1 ? Math.min(Math.round(to) / (at.length - 1), 1) : 0);
  });

  const grown = eachFrame(() => {
    at = moments(walks);
    // A walk that goes on fills the slider as far as it has come.
    time.range(running && !second ? Math.max(walks[0]?.rows ?? 0, at.length - 1) : at.length - 1);
    if (following) {
      const last = walks.findLastIndex((w) => w.frames.length);
      const newest = last < 0 ? 0 : at.findIndex((m) => m[last] === walks[last].frames.length - 1);
      time.value = Math.max(newest, 0);
    }
    strip.draw(walks, at);
    plot();
    draw(time.value);
    status.textContent = STATUS.find(([holds]) => walks.some(holds) || holds === always)[1](walks);
  });

  const plot = () => curve.draw(walks.filter((w) => w.frames.length).map((w) => ({
    name: "AB"[walks.indexOf(w)],
    x: w.frames.map((f) => f.row),
    y: w.frames.map((f) => (Number.isFinite(f.log_snr) ? f.log_snr : null)),
  })));

  async function start() {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    following = true;
    time.stop();
    go.textContent = "Cancel";
    show(trouble);
    const groups = [first, second].filter(Boolean);
    groups.forEach((g) => g.clear());
    const start = { model: model.id, seed: seed.value ?? 0 };
    walks = [];
    arrange(groups.length);
    let group = null;
    try {
      // One after the other, so that the time of each is its own.
      for (group of groups) {
        const next = walk({ ...start, ...asked(group.value, model) }, grown, mine.signal);
        next.settings = group.value;
        walks = [...walks, next];
        grown();
        const done = await next.done;
        if (running !== mine || done.state === "cancelled") break;
      }
    } catch (e) {
      if (running === mine && e.name !== "AbortError" && !group?.say(e.field, e.message)) show(trouble, h("p", { class: "notice bad", role: "alert" }, e.message));
    }
    if (running !== mine) return;
    running = null;
    go.textContent = "Walk again";
    grown();
    remember();
  }

  const begin = () => {
    if (model.parameters < LARGE) { start(); return; }
    status.textContent = "A large model: press Walk, and take your time.";
  };

  const arrange = (n) => {
    columns[1].hidden = n < 2;
    between.hidden = n < 2;
    columns[0].heading.hidden = n < 2;
    stage.classList.toggle("two", n > 1);
  };

  const again = settled(() => {
    remember();
    const took = walks.reduce((sum, w) => sum + (w.seconds ?? 0), 0);
    if (walks.some((w) => w.state !== "done") && !running || took < QUICK) start();
    else if (!running) go.textContent = "Walk with these settings";
  }, 350);

  const compared = (change) => {
    second = change ? settingsFields("B", parts, model, about?.limits, again) : null;
    if (second) second.value = change(first.value, model);
    show(placeB, second);
    first.querySelector("legend").textContent = second ? "A" : "The walk";
  };
  const chosen = (id) => {
    model = known.find((m) => m.id === id) ?? known[0];
    first = settingsFields("The walk", parts, model, about?.limits, again);
    first.value = own(model);
    second = null;
    compare = ideas(model, (change) => { compared(change); again(); });
    show(placeA, first);
    show(placeB);
    show(placeIdeas, compare);
  };

  let compare = null;
  const seed = numberField("Seed", numberOf(given, "seed", 0), { min: 0, step: 1, oninput: () => again() });
  const [placeModel, placeA, placeB, placeIdeas] = [0, 0, 0, 0].map(() => h("div", {}));
  const board = h("div", { class: "board" }, columns[0], columns[1], between);
  const stage = h("div", { class: "stage aside" }, trouble, board, time, strip, status,
    h("div", { class: "beside stack" }, h("section", { class: "curves" }, h("h2", {}, "log-SNR, ln(α²/σ²)"), curve), words));
  const remember = settled(() => {
    if (!first || !here(WHERE)) return;
    const b = second ? Object.entries(second.value).map(([name, v]) => [`b.${name}`, v]) : [];
    keep(WHERE, { model: model.id, seed: seed.value, ...first.value, ...Object.fromEntries(b) });
  }, 300);

  show(root,
    h("div", { class: "ink" },
      stage,
      h("div", { class: "panel stack" }, placeModel, seed, go, placeA, placeIdeas, placeB)));
  arrange(1);

  Promise.all([constant("parts"), constant("about"), models(leaving.signal)]).then(([p, a, list]) => {
    [parts, about, known] = [p, a, list];
    if (!known.length) {
      show(root, h("p", { class: "empty" }, "There is no model to walk with yet. ", h("a", { href: "#/train" }, "Train one"), ", or start the service with a model's folder: ", h("code", {}, "undiffuse serve RUN"), "."));
      return;
    }
    const select = selectField("Model", known.map((m) => m.id), undefined, { onchange: () => { chosen(select.value); begin(); } });
    show(placeModel, select);
    chosen(given.get("model"));
    select.value = model.id;
    const settings = (prefix) => {
      const all = names(model).filter((name) => given.has(prefix + name));
      return Object.fromEntries(all.map((name) => [name, given.get(prefix + name)]));
    };
    first.value = settings("");
    if (given.has("b.solver")) {
      compare.value = "own";
      compared((s) => ({ ...s, ...settings("b.") }));
    }
    begin();
  }).catch((e) => { if (e.name !== "AbortError") show(trouble, h("p", { class: "notice bad", role: "alert" }, e.message)); });

  return () => { leaving.abort(); running?.abort(); running = null; time.stop(); };
}

const share = ({ alpha, sigma }) => alpha ** 2 / (alpha ** 2 + sigma ** 2);
