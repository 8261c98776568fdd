// A picture at the size that a model works at, made as the service makes it (tests/studio/fitting.rs compares the two): what is
// shown is what is sent.

import { h } from "../../lib/dom.js";

const LOBES = 3;
const lanczos = (x) => {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const p = Math.PI * x;
  return (LOBES * Math.sin(p) * Math.sin(p / LOBES)) / (p * p);
};

/** For each of `to` samples out of `from`: the first one it reads, and the weights, which sum to 1. */
function taps(from, to) {
  const scale = from / to;
  const wide = Math.max(1, scale); // wider when shrinking, so that nothing aliases
  return Array.from({ length: to }, (_, k) => {
    const centre = (k + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - LOBES * wide + 0.5));
    const last = Math.min(from, Math.floor(centre + LOBES * wide + 0.5));
    const weights = Array.from({ length: last - first }, (_, i) => lanczos((first + i + 0.5 - centre) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / sum) };
  });
}

/** A plane of `width * height` values to another size: down, then across, whole values from 0 to 255 in between as in the service. */
function resized(plane, width, height, toWidth, toHeight) {
  const middle = new Uint8ClampedArray(width * toHeight);
  taps(height, toHeight).forEach(({ first, weights }, y) => {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * plane[(first + i) * width + x];
      middle[y * width + x] = sum;
    }
  });
  const out = new Uint8ClampedArray(toWidth * toHeight);
  taps(width, toWidth).forEach(({ first, weights }, x) => {
    for (let y = 0; y < toHeight; y++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * middle[y * width + first + i];
      out[y * toWidth + x] = sum;
    }
  });
  return out;
}

/**
 * A canvas (or what can be drawn on one) at `[channels, height, width]`: cut to its middle square for square models, stretched otherwise, grey for
 * grey models; Lanczos with three lobes. A picture of the right size stays as it is.
 */
export function fitted(source, [channels, height, width]) {
  const side = width === height ? Math.min(source.width, source.height) : null;
  const [w, hgt] = side ? [side, side] : [source.width, source.height];
  const cut = h("canvas", { width: w, height: hgt });
  const pen = cut.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, w, hgt);
  pen.drawImage(source, -Math.floor((source.width - w) / 2), -Math.floor((source.height - hgt) / 2));
  const from = pen.getImageData(0, 0, w, hgt).data;

  const planes = [0, 1, 2].map((c) => Uint8Array.from({ length: w * hgt }, (_, i) => from[4 * i + c]));
  if (channels === 1) {
    // Luma by ITU-R BT.601, as the service has it.
    const grey = planes[0].map((r, i) => Math.floor((19595 * r + 38470 * planes[1][i] + 7471 * planes[2][i] + 32768) / 65536));
    planes.fill(grey);
  }
  const same = w === width && hgt === height;
  const done = new Map();
  const small = planes.map((p) => {
    if (!done.has(p)) done.set(p, same ? p : resized(p, w, hgt, width, height));
    return done.get(p);
  });

  const out = h("canvas", { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = small[c][i];
    image.data[4 * i + 3] = 255;
  }
  out.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
  return out;
}

/** A mask of `width * height` as a PNG in a `data:` address: white where it is set, black elsewhere. */
export function maskUrl(mask, width, height) {
  const canvas = h("canvas", { width, height });
  const image = new ImageData(width, height);
  mask.forEach((set, i) => image.data.set([set ? 255 : 0, set ? 255 : 0, set ? 255 : 0, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

/** By what to enlarge `size` pixels to fill `room`: a whole factor, or less than 1 for what is larger. */
export const factor = (size, room) => (size <= room ? Math.floor(room / size) : room / size);
