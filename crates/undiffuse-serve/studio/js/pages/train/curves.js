// The curves of a training: loss with its band and validation, and what the optimizer did.

import { chart } from "../../lib/chart.js";
import { h, show } from "../../lib/dom.js";
import { checkField, selectField } from "../../lib/field.js";
import { count, duration, figure } from "../../lib/words.js";

/** Charts beside the loss: key of a step, heading, whether it is seen best on a logarithmic scale. */
const OTHERS = [
  { key: "gradient_norm", title: "Gradient norm", logY: true },
  { key: "images_per_second", title: "Pictures per second" },
  { key: "lr", title: "Learning rate" },
];

/** What was chosen last, for every run. */
const KEPT = "undiffuse.train.view";
const kept = () => { try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; } };
const keep = (view) => { try { localStorage.setItem(KEPT, JSON.stringify(view)); } catch { /* private windows keep nothing */ } };

/** The seconds of training after `nimg` pictures, between the steps that say so. */
export function secondsAt(steps, nimg) {
  const k = steps.findIndex((s) => s.nimg >= nimg);
  if (k < 0) return steps.at(-1)?.seconds ?? 0;
  const [a, b] = [steps[k - 1] ?? { nimg: 0, seconds: 0 }, steps[k]];
  return a.seconds + ((nimg - a.nimg) / Math.max(1, b.nimg - a.nimg)) * (b.seconds - a.seconds);
}

/** The pictures seen after some seconds of training. */
function imagesAt(steps, seconds) {
  const k = steps.findIndex((s) => s.seconds >= seconds);
  if (k < 0) return steps.at(-1)?.nimg ?? 0;
  const [a, b] = [steps[k - 1] ?? { nimg: 0, seconds: 0 }, steps[k]];
  return a.nimg + ((seconds - a.seconds) / Math.max(1e-9, b.seconds - a.seconds)) * (b.nimg - a.nimg);
}

/** The entry whose number of pictures is nearest. */
const nearest = (all, nimg) => all.reduce((best, s) => (!best || Math.abs(s.nimg - nimg) < Math.abs(best.nimg - nimg) ? s : best), null);

/** Units that time is shown in: from how many seconds on, their length, their name. */
const UNITS = [[2 * 86400, 86400, "days"], [2 * 3600, 3600, "hours"], [120, 60, "minutes"], [0, 1, "seconds"]];

/** x axis → how a number of pictures is placed on it, and back, and its words; `longest` is the seconds that it must hold. */
const AXES = {
  images: () => ({ words: "pictures seen", place: (_, nimg) => nimg, back: (_, x) => x }),
  time: (longest) => {
    const [, unit, name] = UNITS.find(([from]) => longest >= from);
    return { words: `${name} of training`, place: (steps, nimg) => secondsAt(steps, nimg) / unit, back: (steps, x) => imagesAt(steps, x * unit) };
  },
};

/** The axis of a view of some metrics. */
export const axisOf = (view, ...metrics) => AXES[view.axis](Math.max(0, ...metrics.map(({ steps }) => steps.at(-1)?.seconds ?? 0)));

/** The controls over the charts: what the x axis counts and whether the loss is logarithmic; `onchange(view)` is told. */
export function viewControls(onchange) {
  const view = { axis: "images", log: true, ...kept() };
  if (!(view.axis in AXES)) view.axis = "images";
  const change = () => { Object.assign(view, { axis: axis.value, log: log.value }); keep(view); onchange(view); };
  const axis = selectField("Along", [{ value: "images", label: "pictures seen" }, { value: "time", label: "time" }], view.axis, { onchange: change });
  const log = checkField("Logarithmic loss", view.log, { onchange: change });
  const box = h("div", { class: "row view" }, axis, log);
  box.view = view;
  return box;
}

/** Loss (with its band) and validation of metrics along an axis, as series of a chart. */
export function lossSeries(metrics, { place }, name = "", [first, second] = [1, 2]) {
  const { steps, validation } = metrics;
  const word = (what) => (name ? `${name}: ${what}` : what);
  const series = [{
    name: word("loss, its least and largest"), curve: first,
    x: steps.map((s) => place(steps, s.nimg)), y: steps.map((s) => s.loss), low: steps.map((s) => s.loss_min), high: steps.map((s) => s.loss_max),
  }];
  if (validation.length) series.push({ name: word("validation"), curve: second, x: validation.map((v) => place(steps, v.nimg)), y: validation.map((v) => v.loss) });
  return series;
}

const inWords = ({ steps, validation }) => {
  if (!steps.length) return "No step yet.";
  const [a, b] = [steps[0], steps.at(-1)];
  const held = validation.length ? ` Validation is ${figure(validation.at(-1).loss)}.` : "";
  return `Loss went from ${figure(a.loss)} to ${figure(b.loss)} over ${count(b.nimg)} pictures in ${duration(b.seconds)}.${held}`;
};

/** Rows of a table: steps, evenly over the run. */
const rows = (steps, n = 12) => (steps.length <= n ? steps : Array.from({ length: n }, (_, k) => steps[Math.round(((k + 1) / n) * (steps.length - 1))]));

function table({ steps, validation }) {
  const columns = [
    ["Pictures", (s) => count(s.nimg)], ["Time", (s) => duration(s.seconds)], ["Loss", (s) => figure(s.loss)],
    ["Validation so far", (s) => figure(validation.filter((v) => v.nimg <= s.nimg).at(-1)?.loss)],
    ["Gradient norm", (s) => figure(s.gradient_norm)], ["Learning rate", (s) => (s.lr === null ? "–" : s.lr.toExponential(1))], ["Pictures/s", (s) => figure(s.images_per_second)],
  ];
  return h("table", {},
    h("thead", {}, h("tr", {}, columns.map(([name]) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", {}, rows(steps).map((s) => h("tr", {}, columns.map(([, of]) => h("td", { class: "number" }, of(s)))))));
}

/**
 * The charts of one run. `draw(metrics)` shows what there is so far, `cursor(nimg)` marks a number of pictures on each chart and says what they were
 * there; `onpick(nimg)` is told when a place is clicked. `.loss` and `.others` are to be put where they belong.
 */
export function curves({ onpick }) {
  let metrics = { steps: [], validation: [], diverged: [] };
  let at = null;
  const redraw = () => { draw(metrics); };
  const controls = viewControls(redraw);
  const { view } = controls;
  const picked = (x) => onpick(axisOf(view, metrics).back(metrics.steps, x));
  const loss = chart({ title: "Loss", height: 360, onpick: picked });
  const others = OTHERS.map((other) => ({ ...other, chart: chart({ title: other.title, height: 170, logY: other.logY, onpick: picked }) }));
  const readout = h("p", { class: "faint readout" });
  const broke = h("div", {});
  const numbers = h("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: "Numbers of the curves" });
  const details = h("details", { ontoggle: () => { if (details.open) show(numbers, table(metrics)); } }, h("summary", {}, "The curves as numbers"), numbers);

  const cursor = (nimg) => {
    at = nimg;
    const x = nimg === null || !metrics.steps.length ? null : axisOf(view, metrics).place(metrics.steps, nimg);
    for (const c of [loss, ...others.map((o) => o.chart)]) c.cursor(x);
    const [step, held] = [nearest(metrics.steps, nimg ?? Infinity), nearest(metrics.validation, nimg ?? Infinity)];
    readout.textContent = nimg === null || !step ? inWords(metrics)
      : `At ${count(nimg)} pictures, after ${duration(secondsAt(metrics.steps, nimg))}: loss ${figure(step.loss)} (${figure(step.loss_min)} to ${figure(step.loss_max)})${held ? `, nearest validation ${figure(held.loss)}` : ""}.`;
  };
  const draw = (fresh) => {
    metrics = fresh;
    const { steps } = metrics;
    const axis = axisOf(view, metrics);
    const { place, words } = axis;
    loss.draw(lossSeries(metrics, axis), { title: `Loss. ${inWords(metrics)}`, xLabel: words, logY: view.log });
    for (const { key, title, chart } of others) {
      const last = steps.at(-1)?.[key];
      chart.draw([{ name: title, x: steps.map((s) => place(steps, s.nimg)), y: steps.map((s) => s[key]) }], { title: `${title}, ${figure(last)} at the end`, xLabel: words });
    }
    show(broke, metrics.diverged.map((d) => h("p", { class: "notice bad" }, `At ${count(d.nimg)} pictures: ${d.what}`)));
    if (details.open) show(numbers, table(metrics));
    cursor(at);
  };

  return {
    draw, cursor,
    loss: h("div", { class: "stack" }, controls, loss, readout, broke, details),
    others: h("div", { class: "small-charts" }, others.map(({ title, chart }) => h("div", {}, h("h3", {}, title), chart))),
  };
}
