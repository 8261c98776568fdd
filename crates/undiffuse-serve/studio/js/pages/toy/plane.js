// The plane of the toy, drawn: data, dissolved data, score, walkers with their trails and guesses.

import { h, svg } from "../../lib/dom.js";
import { digits } from "../ink/words.js";

/** Half the side of the square that is shown. */
export const REACH = 2.6;

/** Which layers there are, in the order of their switches: name, words, whether shown at first, colour, and the mark as a drawing of 24 by 14. */
export const LAYERS = [
  ["data", "Data", true, "curve-2", [["circle", { cx: 12, cy: 7, r: 4.5 }]]],
  ["trails", "Walkers' trails", true, "curve-1", [["path", { d: "M2 12C6 5 10 3 17 6" }], ["circle", { cx: 18, cy: 6.5, r: 3, class: "full" }]]],
  ["arrows", "Score: the way to where it is denser", true, "faint", [["path", { d: "M3 7H21M15.5 2.5L21 7L15.5 11.5" }]]],
  ["dissolved", "Data dissolved to this level: where walkers should be", false, "curve-3", [["circle", { cx: 12, cy: 7, r: 3, class: "full" }]]],
  ["guesses", "Guesses D(x): what each walker is taken for", false, "curve-4", [["path", { d: "M2 11L17 5" }], ["circle", { cx: 18, cy: 4.5, r: 3, class: "full" }]]],
];

/** The mark of a layer beside its words. */
export const mark = (color, shapes) => svg("svg", { class: `mark-of ${color}`, viewBox: "0 0 24 14", width: 24, height: 14, "aria-hidden": "true" }, shapes.map(([tag, props]) => svg(tag, props)));

const mix = (a, b, f) => a + (b - a) * f;

/** The plane; `draw(toy, at, layers, own)` shows a row of a walk, `at` may lie between two. */
export function plane(letter) {
  const canvas = h("canvas", { role: "img" });
  const title = h("figcaption", {});
  const box = h("figure", { class: "picture plane", ariaLabel: `Plane ${letter}` }, canvas, title);
  const pen = canvas.getContext("2d");
  let last = null;

  const fit = new ResizeObserver(() => {
    const side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (side && canvas.width !== side) {
      canvas.width = canvas.height = side;
      if (last) box.draw(...last);
    }
  });
  fit.observe(canvas);

  box.draw = (toy, at, layers, cross) => {
    last = [toy, at, layers, cross];
    const side = canvas.width;
    const css = getComputedStyle(canvas);
    box.scale = 1;
    const color = (name) => css.getPropertyValue(name);
    const unit = side / (2 * REACH);
    const dot = Math.max(side / 560, devicePixelRatio * 0.8);
    const X = (x) => side / 2 + x * unit;
    const Y = (y) => side / 2 - y * unit;
    pen.clearRect(0, 0, side, side);
    pen.lineCap = pen.lineJoin = "round";

    stroke(color("--line"), dot, 1, () => { pen.moveTo(0, side / 2); pen.lineTo(side, side / 2); pen.moveTo(side / 2, 0); pen.lineTo(side / 2, side); });
    const rows = toy ? toy.levels.length - 1 : 0;
    if (toy) {
      const r = Math.min(Math.floor(at), rows);
      const next = Math.min(r + 1, rows);
      const f = at - r;
      const near = Math.min(Math.round(at), rows);
      const [alpha, sigma] = ["alpha", "sigma"].map((name) => mix(toy.levels[r][name], toy.levels[next][name], f));
      // Shown at unit variance where a schedule grows.
      const scale = 1 / Math.max(1, Math.hypot(alpha, sigma));
      box.scale = scale;

      if (layers.arrows) {
        const { xy, score } = toy.field;
        const cell = xy.length > 1 ? Math.abs(xy[1][0] - xy[0][0]) * unit : 0;
        const level = toy.levels[near];
        const wide = Math.hypot(level.alpha * toy.spread, level.sigma);
        stroke(color("--faint"), dot * 1.1, 0.75, () => xy.forEach(([x, y], k) => {
          // In units of the level's own width; long ones are cut, so that all fit their cells.
          const [u, v] = score[near][k].map((s) => s * wide);
          const size = Math.hypot(u, v);
          if (size < 1e-6) return;
          const length = (cell * 0.85 * Math.min(size, 2)) / 2;
          const [dx, dy] = [(u / size) * length, (-v / size) * length];
          const [a, b] = [X(x) - dx / 2, Y(y) - dy / 2];
          const head = Math.min(length / 2, cell / 5);
          const turn = Math.atan2(dy, dx);
          pen.moveTo(a, b);
          pen.lineTo(a + dx, b + dy);
          for (const side of [2.6, -2.6]) { pen.moveTo(a + dx, b + dy); pen.lineTo(a + dx + head * Math.cos(turn + side), b + dy + head * Math.sin(turn + side)); }
        }));
      }
      if (layers.dissolved) dots(toy.points.map(([x, y], k) => [scale * (alpha * x + sigma * toy.eps[k][0]), scale * (alpha * y + sigma * toy.eps[k][1])]), 2.2, color("--curve-3"), 0.9);
      if (layers.data) rings(toy.points.map(([x, y]) => [scale * x, scale * y]), 3.2, color("--curve-2"), 1);

      const now = toy.walkers[r].map(([x, y], k) => [scale * mix(x, toy.walkers[next][k][0], f), scale * mix(y, toy.walkers[next][k][1], f)]);
      if (layers.trails) {
        stroke(color("--curve-1"), dot, 0.4, () => now.forEach((end, k) => {
          for (let i = 0; i <= r; i++) {
            const e = toy.levels[i].exposure;
            pen[i ? "lineTo" : "moveTo"](X(e * toy.walkers[i][k][0]), Y(e * toy.walkers[i][k][1]));
          }
          pen.lineTo(X(end[0]), Y(end[1]));
        }));
      }
      if (layers.guesses) {
        const guesses = toy.guesses[Math.min(near, rows - 1)].map(([x, y]) => [scale * x, scale * y]);
        stroke(color("--curve-4"), dot * 0.8, 0.45, () => guesses.forEach(([x, y], k) => { pen.moveTo(X(now[k][0]), Y(now[k][1])); pen.lineTo(X(x), Y(y)); }));
        dots(guesses, 2, color("--curve-4"), 1);
      }
      dots(now, 2.6, color("--curve-1"), 1);
    }
    if (cross) {
      const [x, y] = [X(box.scale * cross[0]), Y(box.scale * cross[1])];
      stroke(color("--ink"), dot * 1.5, 1, () => { pen.moveTo(x - 9 * dot, y); pen.lineTo(x + 9 * dot, y); pen.moveTo(x, y - 9 * dot); pen.lineTo(x, y + 9 * dot); });
    }

    function stroke(style, width, opacity, path) {
      Object.assign(pen, { strokeStyle: style, lineWidth: width, globalAlpha: opacity });
      pen.beginPath();
      path();
      pen.stroke();
      pen.globalAlpha = 1;
    }
    function round(points, radius) {
      pen.beginPath();
      for (const [x, y] of points) { pen.moveTo(X(x) + radius * dot, Y(y)); pen.arc(X(x), Y(y), radius * dot, 0, 2 * Math.PI); }
    }
    function dots(points, radius, style, opacity) {
      Object.assign(pen, { fillStyle: style, globalAlpha: opacity });
      round(points, radius);
      pen.fill();
      pen.globalAlpha = 1;
    }
    function rings(points, radius, style, width) {
      Object.assign(pen, { strokeStyle: style, lineWidth: width * dot });
      round(points, radius);
      pen.stroke();
    }
  };

  /** Where in the plane of the data a pointer is. */
  box.place = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const shown = [((event.clientX - left) / width) * 2 * REACH - REACH, REACH - ((event.clientY - top) / height) * 2 * REACH];
    return shown.map((v) => v / box.scale);
  };
  box.leave = () => fit.disconnect();
  return Object.assign(box, { canvas, caption: title });
}

/** The least share of signal for which a sentence about the guesses holds. */
const PHASES = [
  [0.8, "Nearly decided: each guess is close to one point."],
  [0.05, "The guesses move apart: each walker is being drawn toward a part of the data."],
  [0, "The walkers are spread as noise is, and each guess is near the middle of all data: nothing is decided yet."],
];

/** A row of a walk in words: where the walkers are, and how sure the guesses. */
export function described(toy, row) {
  const rows = toy.levels.length - 1;
  const { alpha, sigma } = toy.levels[row];
  const mean = (list) => list.reduce((sum, v) => sum + v, 0) / list.length;
  const off = (places) => places.map(([x, y]) => Math.min(...toy.points.map(([u, v]) => Math.hypot(x - u, y - v))));
  const where = `Level ${row} of ${rows}: σ = ${digits(sigma)}, α = ${digits(alpha)}.`;
  if (row === rows) {
    const away = off(toy.walkers[row]);
    const there = away.filter((d) => d <= 3 * toy.spread).length / away.length;
    return `${where} ${Math.round(100 * there)} % of the walkers have arrived, within three spreads of a data point; on average they are ${digits(mean(away))} from the nearest.`;
  }
  const share = alpha ** 2 / (alpha ** 2 + sigma ** 2);
  const middle = mean(toy.walkers[row].map(([x, y]) => Math.hypot(x, y)));
  return `${where} ${PHASES.find(([least]) => share >= least)[1]} On average the walkers are ${digits(middle)} from the middle, their guesses ${digits(mean(off(toy.guesses[row])))} from the nearest data point.`;
}
