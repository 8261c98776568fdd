// Numbers and sentences of the forward process.

/** A share in per cent, with two digits of whichever is smaller, it or what is missing to the whole. */
export function percent(share) {
  const value = 100 * share;
  const small = Math.min(value, 100 - value);
  if (small <= 0) return `${value.toFixed(0)} %`;
  if (small < 1e-4) return value < 50 ? "< 0.0001 %" : "> 99.9999 %";
  return `${value.toFixed(Math.min(Math.max(1 - Math.floor(Math.log10(small)), 0), 4))} %`;
}

/** Three digits. */
export function digits(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size < 1e-3 ? value.toExponential(1) : value.toFixed(Math.min(Math.max(2 - Math.floor(Math.log10(size)), 0), 4));
}

/** The smallest share of signal for which a sentence holds. */
const STORY = [
  [0.995, "Almost nothing has happened: the picture is all there."],
  [0.9, "A fine grain lies over the picture: chance has moved every pixel a little."],
  [0.5, "The noise grows, but you still see what it is."],
  [0.1, "There is more noise than picture. Large shapes are left, small ones are lost."],
  [0.01, "Only a hint of the largest shapes is left."],
  [0, "To the eye nothing is left. The values now lie as the normal curve says, whatever the picture was."],
];

/** What is to be seen at a level, in a sentence or two. */
export function story({ share, alpha, exposure }) {
  const sentence = STORY.find(([least]) => share >= least)[1];
  return alpha === 1 && exposure < 0.999
    ? `${sentence} This schedule leaves the picture alone and drowns it in ever more noise; it is shown scaled to unit variance.`
    : sentence;
}

const BACK = [
  [0.999, "The walk has arrived: what it holds is the picture."],
  [0.8, "What it is has long been decided. The last steps paint fine detail and take the last grain away."],
  [0.2, "x_t begins to look like something: the guess sharpens, edges and parts find their places."],
  [0.02, "x_t still looks like noise, but the guess already knows the large shapes. This is where it is decided what it becomes."],
  [0, "x_t is noise. The best guess is the average of all pictures that could be hidden in it, so it is blurred."],
];

/** What happens on the way back at this share of signal. */
export const storyBack = (share) => BACK.find(([least]) => share >= least)[1];
