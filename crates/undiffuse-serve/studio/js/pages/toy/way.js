// Two walks beside each other: which row of each belongs to the same noise level.

const FAR = 30; // log-SNRs beyond this are pure noise or clean, as far as the eye is concerned

/** How far each row is along the way: the furthest log-SNR so far, within [-FAR, FAR]. */
export function ways(levels) {
  let far = -FAR;
  return levels.map(({ alpha, sigma }) => {
    const here = alpha <= 0 ? -FAR : sigma <= 0 ? FAR : Math.min(Math.max(2 * Math.log(alpha / sigma), -FAR), FAR);
    return (far = Math.max(far, here));
  });
}

/** The ways at which any of several walks has a row, in order. */
export const stops = (walks) => [...new Set(walks.flat())].sort((a, b) => a - b);

/** The place between two rows where a walk is when the way has come to `at` on `stops`, which may lie between two of them. */
export function rowAt(ways, stops, at) {
  const k = Math.min(Math.floor(at), stops.length - 1);
  const way = stops[k] + ((stops[k + 1] ?? stops[k]) - stops[k]) * (at - k);
  const after = ways.findIndex((w) => w > way + 1e-9);
  if (after < 0) return ways.length - 1;
  return after === 0 ? 0 : after - 1 + Math.max(0, (way - ways[after - 1]) / (ways[after] - ways[after - 1]));
}
