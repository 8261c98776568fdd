// How often each value occurs, against the standard normal curve.

import { h, svg } from "../../lib/dom.js";
import { SPAN } from "./dissolve.js";

const [WIDTH, HEIGHT, FLOOR] = [320, 190, 166];
const TOP = 0.72; // density at the upper edge
const place = (v) => ((v + SPAN) / (2 * SPAN)) * WIDTH;
const level = (density) => FLOOR * (1 - Math.min(density, TOP) / TOP);

/** The histogram; `draw(bins, count)` shows others, of `count` values in all. */
export function histogram() {
  const [bars, cut] = [svg("path", { class: "bars" }), svg("path", { class: "bars cut" })];
  const note = h("span", { hidden: true }, "; taller bars are cut");
  const curve = Array.from({ length: 81 }, (_, k) => (k / 40 - 1) * SPAN).map((v) => `${place(v).toFixed(1)} ${level(Math.exp(-v * v / 2) / Math.sqrt(2 * Math.PI)).toFixed(1)}`);
  const marks = [-3, -2, -1, 0, 1, 2, 3];
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "How often each value occurs in x_t, and the normal curve" },
    bars, cut,
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: FLOOR, y2: FLOOR }),
    marks.map((v) => svg("text", { x: place(v), y: HEIGHT - 8, "text-anchor": "middle" }, v)),
    svg("path", { class: "curve curve-2", d: `M${curve.join("L")}` }));
  const box = h("figure", { class: "picture" }, root, h("figcaption", {}, h("b", {}, "Values of x_t"), " beside the normal curve", note));
  box.draw = (bins, count) => {
    const wide = (2 * SPAN) / bins.length;
    const paths = ["", ""];
    bins.forEach((n, k) => {
      const density = n / (count * wide);
      if (n) paths[density > TOP ? 1 : 0] += `M${place(k * wide - SPAN).toFixed(1)} ${FLOOR}V${level(density).toFixed(1)}H${(place((k + 1) * wide - SPAN) - 0.8).toFixed(1)}V${FLOOR}Z`;
    });
    bars.setAttribute("d", paths[0]);
    cut.setAttribute("d", paths[1]);
    note.hidden = !paths[1];
  };
  return box;
}
