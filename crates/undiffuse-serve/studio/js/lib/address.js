// What a page shows, kept in the address after its name, so that a view can be shared: #/toy/shape=spiral&steps=10.

const start = (depth) => location.hash.split("/").slice(0, depth).join("/");

/** The settings in the address; `depth` is how many words stand before them (`#/ink/forward/…` has 3). */
export const settings = (depth) => new URLSearchParams(location.hash.split("/").slice(depth).join("/"));

/** A number among settings; `otherwise` where there is none, as in an address that was typed. */
export function numberOf(settings, name, otherwise) {
  const value = parseFloat(settings.get(name));
  return Number.isFinite(value) ? value : otherwise;
}

/** Puts settings in the address, without a new entry in the history; those without a value are left out. */
export function keep(where, values) {
  const there = new URLSearchParams(Object.entries(values).filter(([, v]) => v !== undefined && v !== null && v !== ""));
  // Slashes, colons and equals signs are harmless here, and easier to read.
  const text = there.toString().replace(/%(3A|3D|2C|3B|2F)/g, decodeURIComponent);
  history.replaceState(null, "", text ? `${where}/${text}` : where);
}

/** Whether the address still names this page. */
export const at = (where) => start(where.split("/").length) === where;
