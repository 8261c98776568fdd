// A drawing to dissolve where there is no model to ask for a picture.

import { h } from "../../lib/dom.js";

/** A small landscape, on a canvas. */
export function drawing() {
  const canvas = h("canvas", { width: 160, height: 160 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const sky = pen.createLinearGradient(0, 0, 0, 120);
  sky.addColorStop(0, "#173f6b");
  sky.addColorStop(0.7, "#e3a07a");
  sky.addColorStop(1, "#f7d9a8");
  const shape = (color, draw) => { pen.fillStyle = color; pen.beginPath(); draw(); pen.fill(); };
  shape(sky, () => pen.rect(0, 0, 160, 160));
  shape("#fff2cf", () => pen.arc(108, 66, 20, 0, 2 * Math.PI));
  shape("#53607f", () => { pen.moveTo(0, 112); pen.lineTo(42, 58); pen.lineTo(72, 96); pen.lineTo(96, 76); pen.lineTo(160, 120); pen.lineTo(160, 160); pen.lineTo(0, 160); });
  shape("#e9ecf2", () => { pen.moveTo(42, 58); pen.lineTo(55, 74); pen.lineTo(44, 72); pen.lineTo(32, 78); pen.lineTo(29, 75); });
  shape("#23414a", () => { pen.moveTo(0, 124); pen.quadraticCurveTo(60, 96, 160, 132); pen.lineTo(160, 160); pen.lineTo(0, 160); });
  shape("#0f242b", () => { for (const [x, y, s] of [[24, 140, 16], [44, 146, 22], [132, 148, 20]]) { pen.moveTo(x, y - 2 * s); pen.lineTo(x + s / 2, y); pen.lineTo(x - s / 2, y); } });
  return canvas;
}
