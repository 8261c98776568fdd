// The forward process on one picture, as `undiffuse diffuse` has it: x_t = alpha x0 + sigma eps, in single precision, one pass.

const { fround, floor, cbrt } = Math;

/** The histogram's axis reaches from -SPAN to SPAN. */
export const SPAN = 3.5;

/** A canvas as values `[C, H, W]` in [-1, 1]; one channel when every pixel is grey. */
export function values(canvas) {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
  const plane = width * height;
  let grey = true;
  for (let i = 0; i < data.length && grey; i += 4) grey = data[i] === data[i + 1] && data[i] === data[i + 2];
  const channels = grey ? 1 : 3;
  const x0 = new Float32Array(plane * channels);
  for (let c = 0; c < channels; c++) for (let i = 0; i < plane; i++) x0[c * plane + i] = fround(data[4 * i + c] / 127.5) - 1;
  return { width, height, channels, x0 };
}

/** What `dissolve` writes into: pixels of the sum and of its two terms, and how many values fall in each bin. */
export function room({ width, height, x0 }) {
  const image = () => new ImageData(width, height);
  const [x, signal, noise] = [image(), image(), image()];
  const bins = Math.max(Math.min(floor(3 * cbrt(x0.length)), 64), 1);
  return { x, signal, noise, bins: new Uint32Array(bins), pixels: [x, signal, noise].map((i) => new Uint32Array(i.data.buffer)) };
}

function byte(value, exposure) {
  const v = fround(fround(fround(value * exposure) + 1) * 127.5);
  return v <= 0 ? 0 : v >= 255 ? 255 : (v + 0.5) | 0;
}

/** The picture at a level `{ alpha, sigma, exposure }`, with the noise `eps`, into `out`. */
export function dissolve({ x0, channels }, eps, { alpha, sigma, exposure }, out) {
  const [x, signal, noise] = out.pixels;
  const { bins } = out;
  const plane = x.length;
  const toBin = bins.length / (2 * SPAN);
  bins.fill(0);
  for (let c = 0; c < channels; c++) {
    const place = channels === 1 ? 0x010101 : 1 << (8 * c);
    const opaque = c === 0 ? 0xff000000 : 0;
    for (let i = 0, k = c * plane; i < plane; i++, k++) {
      const s = fround(alpha * x0[k]);
      const n = fround(sigma * eps[k]);
      const sum = fround(s + n);
      if (c === 0) x[i] = signal[i] = noise[i] = opaque;
      x[i] |= byte(sum, exposure) * place;
      signal[i] |= byte(s, exposure) * place;
      noise[i] |= byte(n, exposure) * place;
      const bin = (sum * exposure + SPAN) * toBin;
      if (bin >= 0 && bin < bins.length) bins[bin | 0]++;
    }
  }
}
