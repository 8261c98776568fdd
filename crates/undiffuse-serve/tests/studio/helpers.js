// What the tests know of a page: controls by the names that people and screen readers know them by.
globalThis.proof = {
  seen: (element) => element.checkVisibility({ visibilityProperty: true }) || element.type === "file",

  /** The accessible name, near enough: aria-label, its label, or its text. */
  name: (element) => {
    const label = element.getAttribute("aria-label") ?? (element.labels?.length ? [...element.labels].map((l) => l.textContent).join(" ") : element.textContent);
    return (label || element.title || element.placeholder || "").trim().replace(/\s+/g, " ");
  },

  /** The visible control of this name: the whole name if one has it, otherwise one that begins with it; those of the page before those of the bar above. */
  control: (name) => {
    const all = [...document.querySelectorAll("button, a[href], input, select, textarea, summary, [role=button], [role=tab], [role=slider]")].filter(proof.seen);
    all.sort((a, b) => Boolean(a.closest("nav")) - Boolean(b.closest("nav")));
    return all.find((c) => proof.name(c) === name) ?? all.find((c) => proof.name(c).startsWith(name)) ?? null;
  },

  rect: (element) => {
    element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x, y, width, height];
  },

  middle: (element) => {
    const [x, y, width, height] = proof.rect(element);
    return [x + width / 2, y + height / 2];
  },

  /** The middle of an element that stays where it is; null while it moves. */
  still: async (element) => {
    if (!element) return null;
    const before = proof.middle(element);
    for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
    const after = proof.middle(element);
    return before.every((v, k) => Math.abs(v - after[k]) < 1) ? after : null;
  },

  choose: (select, option) => {
    const found = [...select.options].find((o) => o.value === option || o.textContent.trim() === option);
    if (!found) return false;
    select.value = found.value;
    select.dispatchEvent(new Event("input", { bubbles: true }));
    select.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  },

  /** Elements that make the page wider than the screen. */
  wide: () => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const inScroller = (e) => { for (let p = e.parentElement; p; p = p.parentElement) if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
    const over = [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > width + 1 && !inScroller(e));
    return [`${document.documentElement.scrollWidth} > ${width}`, ...over.slice(0, 5).map((e) => `${e.tagName.toLowerCase()}.${e.className} ${e.textContent.slice(0, 60)}`)];
  },

  /** Links in this element that are not to be seen without scrolling. */
  cut: (element) => {
    const { left, right } = element.getBoundingClientRect();
    const seen = (a) => { const box = a.getBoundingClientRect(); return box.left >= Math.max(left, 0) - 1 && box.right <= Math.min(right, innerWidth) + 1; };
    return [...element.querySelectorAll("a")].filter((a) => !seen(a)).map((a) => a.textContent);
  },

  /** What axe-core calls serious or critical, a line each. */
  faults: async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return bad.flatMap(({ id, impact, nodes }) => nodes.slice(0, 4).map((n) => `${impact} ${id}: ${n.target.join(" ")}: ${n.failureSummary.replace(/\s+/g, " ").slice(0, 240)}`));
  },

  /** The bytes of a canvas or picture: red, green, blue, opacity of each pixel. */
  bytes: (element) => {
    const canvas = document.createElement("canvas");
    canvas.width = element.naturalWidth || element.width;
    canvas.height = element.naturalHeight || element.height;
    const pen = canvas.getContext("2d");
    pen.drawImage(element, 0, 0);
    return pen.getImageData(0, 0, canvas.width, canvas.height).data;
  },

  /** A canvas or picture as a number, so that two states can be told apart. */
  pixels: (element) => proof.bytes(element).reduce((sum, v, i) => (sum * 31 + v * (i % 7 + 1)) % 1000000007, 0),

  /** Whether a canvas or picture has a pixel that is no grey. */
  colourful: (element) => proof.bytes(element).some((v, k, all) => k % 4 === 0 && Math.abs(v - all[k + 1]) > 8),

  /** Pastes a PNG, given in base64, as from another program. */
  paste: (base64, name) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type: "image/png" }));
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
  },
};
