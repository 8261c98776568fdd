// Points of one's own: put into the plane by pointer or by keyboard.

import { h } from "../../lib/dom.js";
import { REACH } from "./plane.js";

const MOST = 500;
const STEP = 0.1;

/** Points as the address has them, `x,y` after `x,y` with semicolons between. */
export const written = (points) => points.map((p) => p.join(",")).join(";");
export const read = (text) => text.split(";").map((p) => p.split(",").map(Number)).filter((p) => p.length === 2 && p.every((v) => Math.abs(v) <= REACH));

/** Lets points be put into `plane`; `onchange()` is told. `state.cross` is where the keyboard would put one, or null. */
export function editor(plane, onchange, points = [[-1, 0.6], [1, 0.6], [0, -0.9]]) {
  const { canvas } = plane;
  const state = { points, cross: null, on: false };
  const words = h("p", { class: "hint faint", role: "status" });
  const tell = (what) => { words.textContent = `${what} ${state.points.length} point${state.points.length === 1 ? "" : "s"}.`; };
  const change = (points, what) => { state.points = points.slice(0, MOST); tell(what); onchange(); };
  const add = (place) => change([...state.points, place.map((v) => Math.round(Math.min(Math.max(v, -REACH), REACH) * 100) / 100)], "Added.");
  const undo = () => change(state.points.slice(0, -1), "Taken away.");

  canvas.addEventListener("pointerdown", (event) => { if (state.on) add(plane.place(event)); });
  canvas.addEventListener("focus", () => { if (state.on && canvas.matches(":focus-visible")) { state.cross ??= [0, 0]; onchange("cross"); } });
  canvas.addEventListener("blur", () => { if (state.cross) { state.cross = null; onchange("cross"); } });
  canvas.addEventListener("keydown", (event) => {
    if (!state.on) return;
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    const [x, y] = (state.cross ??= [0, 0]);
    const move = moves[event.key];
    if (move) {
      const far = event.shiftKey ? 5 : 1;
      state.cross = [x + far * move[0], y + far * move[1]].map((v) => Math.min(Math.max(v, -2.5), 2.5));
      words.textContent = `At ${state.cross.map((v) => v.toFixed(1)).join(", ")}.`;
      onchange("cross");
    } else if (event.key === "Enter" || event.key === " ") add(state.cross);
    else if (event.key === "Backspace" || event.key === "Delete") undo();
    else return;
    event.preventDefault();
  });

  const box = h("div", { class: "stack", hidden: true },
    h("p", { class: "hint" }, "Click or tap into the plane to put points there. By keyboard: go to the plane, arrow keys move a cross, Enter puts a point, Backspace takes the last one away."),
    h("div", { class: "row" }, h("button", { type: "button", onclick: undo }, "Take the last away"), h("button", { type: "button", onclick: () => change([], "Cleared.") }, "Clear")),
    words);
  /** On while one's own points are the data. */
  box.turn = (on) => {
    state.on = on;
    box.hidden = !on;
    canvas.classList.toggle("editing", on);
    canvas.tabIndex = on ? 0 : -1;
    canvas.setAttribute("role", on ? "application" : "img");
    if (on) tell("");
  };
  return Object.assign(box, { state });
}
