// Line charts as SVG: curves over x, linear or logarithmic, with an optional cursor.

import { h, svg, show } from "./dom.js";

const EDGE = { left: 58, right: 12, top: 10, bottom: 34 };

const finite = (v) => v !== null && v !== undefined && Number.isFinite(v);

/** Round numbers between two ends. */
export function ticks(low, high, count = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  // A curve that nearly reaches a round number has it as its end.
  const near = 0.02;
  const first = Math.ceil(low / step - near);
  return Array.from({ length: Math.floor(high / step + near) - first + 1 }, (_, k) => (first + k) * step);
}

/** A number as axes show it: 1.2k, 3.4M, 0.05. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit * 0.9999) return `${Number((value / unit).toPrecision(3))}${name}`;
  }
  return size < 1e-3 ? value.toExponential(1).replace(".0", "") : String(Number(value.toPrecision(3)));
}

/** Round numbers between two ends that lie evenly on a logarithmic axis: powers of ten, with 2 and 5 between them where there are few. */
function decades(low, high) {
  const [a, b] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.ceil((b - a) / 5);
  const digits = b - a > 2 ? [1] : [1, 2, 5];
  const all = Array.from({ length: b - a + 1 }, (_, k) => a + k).filter((e) => e % every === 0).flatMap((e) => digits.map((d) => d * 10 ** e));
  return all.filter((v) => v >= low * 0.999 && v <= high * 1.001);
}

function scale(values, log, [from, to]) {
  const usable = values.filter((v) => finite(v) && (!log || v > 0));
  let [low, high] = usable.length ? [Math.min(...usable), Math.max(...usable)] : [log ? 1 : 0, log ? 10 : 1];
  const room = Math.abs(low) / 2 || 0.5;
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - room, high + room];
  const on = log ? Math.log10 : (v) => v;
  const [a, b] = [on(low), on(high)];
  const place = (v) => from + ((on(v) - a) / (b - a)) * (to - from);
  const marks = log
    ? decades(low, high)
    : ticks(low, high, Math.abs(to - from) > 380 ? 6 : 4);
  return { place, marks: marks.length > 1 || !log ? marks : ticks(low, high, 4), back: (p) => { const v = a + ((p - from) / (to - from)) * (b - a); return log ? 10 ** v : v; } };
}

/**
 * A chart as wide as its place: `series` are `{ name, x: [], y: [], low?: [], high?: [], curve?: 1 to 4 }`; `title` is what a screen reader says,
 * `xLabel` stands under the axis. Options: `height`, `width` (until its place is known), `logX`, `logY`, `onpick(x)` (a click or drag on the chart).
 * The element's `cursor(x)` moves a vertical line, `draw(series, { title, xLabel, logX, logY })` shows others, `say(title)` tells screen readers.
 */
export function chart({ title, series = [], xLabel = "", width = 560, height = 220, logX = false, logY = false, onpick }) {
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const legend = h("ul", { class: "legend" });
  const box = h("div", {}, root, legend);
  const line = svg("line", { class: "cursor", y1: EDGE.top, y2: height - EDGE.bottom, visibility: "hidden" });
  let x, at;

  box.say = (title) => root.setAttribute("aria-label", title);
  box.draw = (shown = series, change = {}) => {
    series = shown;
    ({ xLabel, logX, logY } = { xLabel, logX, logY, ...change });
    if (change.title) box.say(change.title);
    x = scale(series.flatMap((s) => s.x), logX, [EDGE.left, width - EDGE.right]);
    const y = scale(series.flatMap((s) => [...s.y, ...(s.low ?? []), ...(s.high ?? [])]), logY, [height - EDGE.bottom, EDGE.top]);
    const drawn = (s, values) => {
      let pen = "M";
      return values.map((v, i) => {
        if (!finite(v) || (logY && v <= 0) || !finite(s.x[i])) { pen = "M"; return ""; }
        const part = `${pen}${x.place(s.x[i]).toFixed(1)} ${y.place(v).toFixed(1)}`;
        pen = "L";
        return part;
      }).join("");
    };
    const band = (s) => {
      if (!s.low || !s.high) return null;
      const there = s.x.map((v, i) => [v, s.low[i], s.high[i]]).filter((p) => p.every(finite) && (!logY || p[1] > 0));
      const edge = [...there.map(([v, , high]) => [v, high]), ...there.reverse().map(([v, low]) => [v, low])];
      return edge.length ? `M${edge.map(([v, w]) => `${x.place(v).toFixed(1)} ${y.place(w).toFixed(1)}`).join("L")}Z` : null;
    };
    show(root,
      y.marks.map((v) => [
        svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y.place(v), y2: y.place(v) }),
        svg("text", { x: EDGE.left - 8, y: y.place(v) + 4, "text-anchor": "end" }, short(v)),
      ]),
      x.marks.map((v) => svg("text", { x: Math.min(x.place(v), width - 14), y: height - EDGE.bottom + 16, "text-anchor": "middle" }, short(v))),
      svg("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: height - EDGE.bottom, y2: height - EDGE.bottom }),
      svg("text", { x: width - EDGE.right, y: height - 2, "text-anchor": "end" }, xLabel),
      series.map((s, k) => [
        band(s) && svg("path", { class: `band curve-${s.curve ?? k % 4 + 1}`, d: band(s) }),
        svg("path", { class: `curve curve-${s.curve ?? k % 4 + 1}`, d: drawn(s, s.y) }),
        // A single point is no line.
        s.x.length === 1 && finite(s.y[0]) && svg("circle", { class: `curve-${s.curve ?? k % 4 + 1}`, cx: x.place(s.x[0]), cy: y.place(s.y[0]), r: 3 }),
      ]),
      line);
    box.cursor(at);
    show(legend, series.length > 1 ? series.map((s, k) => h("li", {}, h("span", { class: `key curve-${s.curve ?? k % 4 + 1}` }), s.name)) : []);
  };
  box.cursor = (to) => {
    at = to;
    const there = finite(at) && x && (!logX || at > 0);
    line.setAttribute("visibility", there ? "visible" : "hidden");
    if (there) { line.setAttribute("x1", x.place(at)); line.setAttribute("x2", x.place(at)); }
  };
  if (onpick) {
    root.style.cursor = "crosshair";
    root.style.touchAction = "pan-y";
    const pick = (event) => {
      const seen = root.getBoundingClientRect();
      const place = ((event.clientX - seen.left) / seen.width) * width;
      onpick(x.back(Math.min(Math.max(place, EDGE.left), width - EDGE.right)));
    };
    root.addEventListener("pointerdown", (event) => { root.setPointerCapture(event.pointerId); pick(event); });
    root.addEventListener("pointermove", (event) => { if (event.buttons) pick(event); });
  }
  box.draw();
  // Text keeps its size on a phone: the drawing takes the width that it has, instead of being shrunk.
  new ResizeObserver(([{ contentRect }]) => {
    const room = Math.round(contentRect.width);
    if (room < 1 || room === width) return;
    width = room;
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.draw();
  }).observe(box);
  return box;
}
