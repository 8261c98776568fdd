// Intervals drawn as little bars on a common scale.

import { svg } from "../../lib/dom.js";

const WIDTH = 220;
const ROW = 16;
const EDGE = 6;

/** The interval of a figure, or its value twice; nothing where it is no number. */
const ends = ({ value, interval }) => interval ?? (Number.isFinite(value) ? [value, value] : []);

/** From zero to beyond the largest end; to 1 where more is better and 1 may be the most. */
export const fromZero = (figures) => {
  const all = figures.flatMap(ends);
  const most = Math.max(...all, 1e-12);
  return [Math.min(0, ...all), most <= 1 && figures[0].better === "higher" ? 1 : most * 1.15];
};

/** No more than what the intervals need, so that small differences are seen. */
export const close = (figures) => {
  const all = figures.flatMap(ends);
  const [low, high] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.12;
  return [low - room, high + room];
};

/** A bar for each figure, a line at its value; `words` is the text that stands for the drawing. */
export function bars(figures, [low, high], words) {
  const place = (v) => EDGE + ((v - low) / (high - low)) * (WIDTH - 2 * EDGE);
  const height = ROW * figures.length;
  return svg("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": words },
    figures.map((figure, k) => {
      if (!ends(figure).length) return null;
      const y = ROW * (k + 0.5);
      const [from, to] = ends(figure).map(place);
      return [
        svg("line", { class: "track", x1: 0, x2: WIDTH, y1: y, y2: y }),
        svg("rect", { class: `curve-${k + 1}`, x: from, y: y - 4, width: Math.max(2, to - from), height: 8, rx: 2 }),
        Number.isFinite(figure.value) && svg("line", { class: "value", x1: place(figure.value), x2: place(figure.value), y1: y - 6, y2: y + 6 }),
      ];
    }));
}
