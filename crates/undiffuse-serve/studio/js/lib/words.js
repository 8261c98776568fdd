// Numbers as people say them.

/** 1,234,567. */
export const count = (n) => (n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en"));

/** 1 picture, 2 pictures. */
export const some = (n, one, many = `${one}s`) => `${count(n)} ${Math.round(n) === 1 ? one : many}`;

/** Three digits that matter: 0.136, 12.3, 1,234. */
export function figure(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return count(value);
  return size !== 0 && size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** 4 min 43 s, 2 h 10 min, 3 d. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  let left = Math.round(seconds);
  const first = UNITS.findIndex(([size]) => left >= size);
  if (first < 0) return "0 s";
  return UNITS.slice(first, first + 2).map(([size, name]) => {
    const n = Math.floor(left / size);
    left -= n * size;
    return n ? `${n} ${name}` : "";
  }).filter(Boolean).join(" ");
}

/** How long ago a time (seconds since 1970) is: "just now", "5 min ago", "3 d ago". */
export function ago(time) {
  const passed = Date.now() / 1000 - time;
  if (passed < 10) return "just now";
  const [size, name] = UNITS.find(([size]) => passed >= size) ?? UNITS.at(-1);
  return `${Math.floor(passed / size)} ${name} ago`;
}

/** A time (seconds since 1970) as a date and an hour. */
export const date = (time) => new Date(time * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** The last part of a path. */
export const base = (path) => path.replace(/\/+$/, "").split("/").pop() || path;
