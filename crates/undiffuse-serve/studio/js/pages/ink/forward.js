// The ink spreads: one picture at any time of the forward process.

import { at as here, keep, numberOf } from "../../lib/address.js";
import { bytes, constant, get, models } from "../../lib/api.js";
import { chart } from "../../lib/chart.js";
import { eachFrame, h, settled, show } from "../../lib/dom.js";
import { numberField } from "../../lib/field.js";
import { partField } from "../../lib/part.js";
import { player } from "../../lib/player.js";
import { dissolve, room } from "./dissolve.js";
import { histogram } from "./histogram.js";
import { source } from "./source.js";
import { digits, percent, story } from "./words.js";

const WHERE = "#/ink/forward";
/** Times of a schedule that are asked for: every timestep of a table of 1000. */
const POINTS = 1000;

/** Fills `root`; `settings` come from the address. Returns what to do when the page is left. */
export function forward(root, settings) {
  const leaving = new AbortController();
  const { signal } = leaving;
  let picture, eps, out, curve;
  let share = settings.has("at") ? numberOf(settings, "at", 0) / 100 : null; // of the way from clean to noisy

  const view = (name, title, words) => {
    const canvas = h("canvas", { class: name, role: "img", ariaLabel: title, width: 1, height: 1 });
    const caption = h("span", {}, words);
    const box = h("figure", { class: `picture ${name}` }, canvas, h("figcaption", {}, h("b", {}, title), caption));
    return Object.assign(box, { canvas, caption });
  };
  const views = [
    view("sum", "x_t", ", what you see at this time"),
    view("signal", "α·x0", ", the nudge toward the origin"),
    view("noise", "σ·ε", ", the noise"),
  ];
  const values = histogram();
  const equation = h("p", { class: "equation" });
  const words = h("p", { class: "story" });
  const bar = h("div", { class: "share", ariaHidden: "true" }, h("div", {}));
  const left = h("div", { class: "left" });
  const time = player({
    label: "Time",
    last: POINTS - 1,
    format: (k) => (curve ? `t = ${digits(curve.times[k])}, ${percent(curve.share[k])} signal` : ""),
    onmove: (to) => { draw(to); remember(); },
    seconds: 6,
  });
  const pick = (t) => {
    const k = curve ? nearest(curve.times, t) : 0;
    time.stop();
    time.value = k;
    draw(k);
    remember();
  };
  const chartOf = (title) => chart({ title: `${title} over time`, xLabel: "time", height: 200, onpick: pick });
  const levels = chartOf("α and σ");
  const ratios = chartOf("log-SNR");

  const draw = eachFrame((to) => {
    if (!curve) return;
    const k = Math.min(Math.round(to), curve.times.length - 1);
    share = k / (curve.times.length - 1);
    const level = { alpha: curve.alpha[k], sigma: curve.sigma[k], exposure: curve.exposure[k], share: curve.share[k] };
    show(equation, "x_t = ", h("b", {}, digits(level.alpha)), "·x0 + ", h("b", {}, digits(level.sigma)), "·ε");
    words.textContent = story(level);
    views[0].caption.textContent = level.exposure < 0.999 ? ", scaled to unit variance" : ", what you see at this time";
    left.textContent = `${percent(level.share)} signal`;
    bar.firstChild.style.width = `${100 * level.share}%`;
    levels.cursor(curve.times[k]);
    ratios.cursor(curve.times[k]);
    if (!picture || !eps) return;
    dissolve(picture, eps, level, out);
    [out.x, out.signal, out.noise].forEach((image, i) => views[i].canvas.getContext("2d").putImageData(image, 0, 0));
    values.draw(out.bins, picture.x0.length);
  });

  let asked = 0;
  const renew = async () => {
    const mine = ++asked;
    const count = picture.x0.length;
    try {
      const noise = await bytes(`/api/v1/noise?seed=${seed.value ?? 0}&count=${count}`, signal);
      if (mine !== asked) return;
      seed.say();
      eps = new Float32Array(noise);
      draw(time.value);
      remember();
    } catch (e) {
      if (e.name !== "AbortError" && mine === asked) seed.say(e.message, true);
    }
  };
  const take = (next) => {
    const same = picture?.x0.length === next.x0.length;
    picture = next;
    out = room(picture);
    for (const { canvas } of views) {
      Object.assign(canvas, { width: picture.width, height: picture.height });
      canvas.classList.toggle("pixels", Math.max(picture.width, picture.height) < 200);
    }
    views[0].canvas.setAttribute("aria-label", `x_t: ${picture.name}, dissolving`);
    if (same && eps) draw(time.value);
    else { eps = null; renew(); }
  };

  let curved = 0;
  const bend = async () => {
    const mine = ++curved;
    const text = schedule.value;
    const which = text.startsWith("model ") ? `model=${encodeURIComponent(text.slice(6))}` : `schedule=${encodeURIComponent(text)}`;
    try {
      const next = await get(`/api/v1/schedules/curve?${which}&points=${POINTS}`, signal);
      if (mine !== curved) return;
      schedule.say();
      curve = distinct(next);
      levels.draw([{ name: "α, share of the picture", x: curve.times, y: curve.alpha }, { name: "σ, share of the noise", x: curve.times, y: curve.sigma }], { logX: curve.geometric, logY: curve.geometric });
      ratios.draw([{ name: "log-SNR", x: curve.times, y: curve.log_snr }], { logX: curve.geometric });
      const last = curve.times.length - 1;
      // At first, where picture and noise weigh the same.
      share ??= Math.max(curve.share.findIndex((s) => s <= 0.5), 0) / last;
      time.range(last);
      time.value = Math.round(share * last);
      draw(time.value);
      remember();
    } catch (e) {
      if (e.name !== "AbortError" && mine === curved) schedule.say(e.message);
    }
  };

  const seed = numberField("Seed of the noise", numberOf(settings, "seed", 0), { min: 0, step: 1, oninput: settled(() => picture && renew()) });
  const place = h("div", {});
  let schedule = null;
  const remember = settled(() => {
    if (schedule && here(WHERE)) keep(WHERE, { schedule: schedule.value, seed: seed.value, at: Math.round(1000 * share) / 10 });
  }, 400);
  const from = source(take);

  show(root,
    h("div", { class: "ink" },
      h("div", { class: "stage" },
        h("div", { class: "views" }, views, h("div", { class: "told" }, equation, h("div", {}, left, bar), values, words)),
        time,
        h("div", { class: "charts" },
          h("section", { class: "curves" }, h("h2", {}, "α and σ"), levels),
          h("section", { class: "curves" }, h("h2", {}, "log-SNR, ln(α²/σ²)"), ratios))),
      h("div", { class: "panel stack" }, from,
        h("fieldset", { class: "stack" }, h("legend", {}, "How it dissolves"), place, seed))));

  Promise.all([constant("parts"), models(signal).catch(() => [])]).then(([parts, known]) => {
    const more = known.map((m) => ({ value: `model ${m.id}`, label: `as ${m.id} was trained` }));
    schedule = partField("Schedule", parts.schedules, settings.get("schedule") ?? "cosine", { more, onchange: bend });
    show(place, schedule);
    return bend();
  }).catch((e) => { if (e.name !== "AbortError") show(place, h("p", { class: "notice bad" }, e.message)); });

  return () => { leaving.abort(); time.stop(); from.leave(); };
}

/** The index of the value nearest to `t` in a rising list. */
function nearest(times, t) {
  let [low, high] = [0, times.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= t) low = middle;
    else high = middle;
  }
  return t - times[low] < times[high] - t ? low : high;
}

/** The curve without repeated times: a table may have fewer than were asked for. */
function distinct(curve) {
  const there = curve.times.map((t, k) => k).filter((k) => k === 0 || curve.times[k] !== curve.times[k - 1]);
  const part = (list) => there.map((k) => list[k]);
  return Object.fromEntries(Object.entries(curve).map(([name, v]) => [name, Array.isArray(v) ? part(v) : v]));
}
