import { keep, settings } from "../lib/address.js";
import { h, show } from "../lib/dom.js";
import { forward } from "./ink/forward.js";
import { reverse } from "./ink/reverse.js";

export const title = "Ink";

const VIEWS = {
  forward: { title: "The ink spreads", lead: "Diffusion dissolves a picture in noise, as water dissolves a drop of ink. Move time and watch.", fill: forward },
  reverse: { title: "And un-spreads", lead: "A model has learnt the way back. It starts from nothing but noise, guesses the picture, takes a step toward the guess, and guesses again.", fill: reverse },
};
const NAMES = Object.keys(VIEWS);

export function page(root, word) {
  const first = NAMES.includes(word) ? word : NAMES[0];
  const lead = h("p", { class: "lead" });
  const tabs = NAMES.map((name) => h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}`, onclick: () => open(name) }, VIEWS[name].title));
  const panels = NAMES.map((name) => h("section", { role: "tabpanel", id: `view-${name}`, "aria-labelledby": `tab-${name}` }));
  const leave = {};

  // A view starts when it is first looked at.
  const open = (name, given = new URLSearchParams()) => {
    NAMES.forEach((other, k) => {
      panels[k].hidden = other !== name;
      tabs[k].setAttribute("aria-selected", other === name);
      tabs[k].tabIndex = other === name ? 0 : -1;
    });
    lead.textContent = VIEWS[name].lead;
    if (location.hash.split("/")[2] !== name) keep(`#/ink/${name}`, {});
    leave[name] ??= VIEWS[name].fill(panels[NAMES.indexOf(name)], given);
  };
  const list = h("div", { class: "tabs", role: "tablist", ariaLabel: "Direction", onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
    open(NAMES[next]);
    tabs[next].focus();
  } }, tabs);

  show(root, h("div", { class: "ink-page" }, h("h1", {}, title), list, lead, panels));
  open(first, settings(3));
  return () => Object.values(leave).forEach((f) => f?.());
}
