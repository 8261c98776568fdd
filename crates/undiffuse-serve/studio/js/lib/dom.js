// Elements from words: h("p", { class: "faint" }, "text", h("b", {}, "more")).

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") Object.assign(element.style, value); // by property: the page's policy forbids style attributes
    else if (name in element && (typeof element[name] !== "object" || name.startsWith("aria")) && !(element instanceof SVGElement)) element[name === "class" ? "className" : name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element; `on…` props are listeners, others properties or attributes. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props && "class" in props ? { ...props, className: props.class, class: undefined } : props, children);

/** An SVG element. */
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Puts children in the place of what was there. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Says something in a corner, to eyes and screen readers; `kind` is good, bad, warn or nothing. */
export function notice(text, kind = "") {
  const close = h("button", { class: "small", type: "button", ariaLabel: "Close", onclick: () => box.remove() }, "×");
  const box = h("div", { class: `notice ${kind}` }, h("span", {}, text), close);
  document.getElementById("notices").append(box);
  setTimeout(() => box.remove(), kind === "bad" ? 15000 : 6000);
}

/** Calls `f` at most once a frame, with the arguments of the last call. */
export function eachFrame(f) {
  let waiting = null;
  return (...args) => {
    if (!waiting) requestAnimationFrame(() => { const last = waiting; waiting = null; f(...last); });
    waiting = args;
  };
}

/** Calls `f` when there has been no call for `ms`. */
export function settled(f, ms = 250) {
  let timer;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => f(...args), ms); };
}
