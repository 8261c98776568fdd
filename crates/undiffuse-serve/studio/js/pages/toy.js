import { at as here, keep, numberOf, settings } from "../lib/address.js";
import { constant, post } from "../lib/api.js";
import { eachFrame, h, settled, show } from "../lib/dom.js";
import { checkField, numberField, selectField, sliderField } from "../lib/field.js";
import { partField } from "../lib/part.js";
import { player } from "../lib/player.js";
import { percent } from "./ink/words.js";
import { editor, read, written } from "./toy/own.js";
import { described, LAYERS, mark, plane } from "./toy/plane.js";
import { rowAt, stops, ways } from "./toy/way.js";

export const title = "Toy";

const WHERE = "#/toy";

export function page(root) {
  const given = settings(2);
  const leaving = new AbortController();
  const planes = [plane("A"), plane("B")];
  const own = editor(planes[0], (what) => (what === "cross" ? draw(time.value) : renew()), given.has("points") ? read(given.get("points")) : undefined);
  let toys = [];
  let levels = []; // for two walks: log-SNRs that the slider steps through
  let share = null; // of the way that is shown; at first where picture and noise weigh the same

  const words = h("p", { class: "story", id: "toy-words" });
  const trouble = h("p", { class: "notice bad", role: "alert", hidden: true });
  const time = player({
    label: "Level",
    last: 25,
    seconds: 5,
    format: (at) => {
      const toy = toys[0];
      if (!toy) return "";
      const row = Math.round(rowOf(0, at));
      const { alpha, sigma } = toy.levels[row];
      return `${row} of ${toy.levels.length - 1}, ${percent(alpha ** 2 / (alpha ** 2 + sigma ** 2))} signal`;
    },
    onmove: (at) => draw(at),
  });
  time.slider.control.setAttribute("aria-describedby", words.id);
  const layers = LAYERS.map(([name, words, on, color, shapes]) => {
    const field = checkField(words, on, { onchange: () => draw(time.value) });
    field.control.after(mark(color, shapes));
    return Object.assign(field, { layer: name });
  });

  // One walk is stepped by its rows; two at the same noise level.
  const rowOf = (i, at) => (toys.length < 2 ? at : rowAt(toys[i].ways, levels, at));

  const draw = eachFrame((at) => {
    const on = Object.fromEntries(layers.map((l) => [l.layer, l.value]));
    planes.forEach((p, i) => p.draw(toys[i] ?? null, toys[i] ? rowOf(i, at) : 0, on, i === 0 ? own.state.cross : null));
    if (!toys.length) return;
    share = at / Math.max(last(), 1);
    const text = toys.map((toy, i) => `${toys.length > 1 ? `${"AB"[i]}: ` : ""}${described(toy, Math.round(rowOf(i, at)))}`).join("\n");
    if (words.textContent !== text) words.textContent = text;
    remember();
  });
  const last = () => (toys.length > 1 ? levels.length : toys[0].levels.length) - 1;

  let asked = 0;
  const renew = settled(async () => {
    const mine = ++asked;
    const mineOnly = shape.value === "own";
    own.turn(mineOnly);
    const base = {
      ...(mineOnly ? { points: own.state.points } : { shape: shape.value }),
      schedule: schedule.value, spacing: spacing.value, steps: steps.value ?? 25, seed: seed.value ?? 0, n: walkers.value, spread: spread.value, grid: 17,
    };
    second.hidden = planes[1].hidden = !compare.value;
    stage.classList.toggle("two", compare.value);
    if (mineOnly && !own.state.points.length) {
      toys = [];
      words.textContent = "The plane is empty: put points into it, and walkers will find them.";
      draw(0);
      return;
    }
    const requests = [{ ...base, solver: solver.value }, ...(compare.value ? [{ ...base, solver: other.value, steps: otherSteps.value ?? base.steps }] : [])];
    try {
      const next = await Promise.all(requests.map((r) => post("/api/v1/toy", r, leaving.signal)));
      if (mine !== asked) return;
      trouble.hidden = true;
      Object.values(fields).forEach((f) => f.say?.());
      toys = next.map((toy) => ({ ...toy, ways: ways(toy.levels) }));
      levels = stops(toys.map((t) => t.ways));
      toys.forEach((toy, i) => {
        planes[i].caption.textContent = `${toys.length > 1 ? `${"AB"[i]}: ` : ""}${toy.solver}, ${toy.levels.length - 1} evaluations`;
        planes[i].canvas.setAttribute("aria-label", own.state.on && i === 0
          ? "The plane. Arrow keys move a cross, Enter puts a point there, Backspace takes the last one away."
          : `${toy.points.length} data points, ${toy.walkers[0].length} walkers of ${toy.solver}; described under the slider`);
      });
      if (shape.names !== next[0].shapes.join()) name(next[0].shapes);
      const equal = toys[0].levels.findIndex((l) => l.alpha >= l.sigma) / (toys[0].levels.length - 1);
      share ??= equal > 0 ? equal : 0;
      const where = share * last();
      time.range(last());
      time.value = toys.length > 1 || time.playing ? where : Math.round(where);
      draw(time.value);
    } catch (e) {
      if (e.name === "AbortError" || mine !== asked) return;
      if (fields[e.field]) fields[e.field].say(e.message, true);
      else Object.assign(trouble, { hidden: false, textContent: e.message });
    }
  }, 120);
  const remember = settled(() => {
    if (!fields || !here(WHERE)) return;
    const b = compare.value ? { b: other.value, "b.steps": otherSteps.value } : {};
    const data = shape.value === "own" ? { points: written(own.state.points) } : { shape: shape.value };
    const values = { solver, steps, schedule, spacing, seed, n: walkers, spread };
    keep(WHERE, { ...data, ...Object.fromEntries(Object.entries(values).map(([name, field]) => [name, field.value])), ...b });
  }, 400);

  const told = { onchange: () => renew() };
  const number = (label, name, value, props) => numberField(label, numberOf(given, name, value), { ...props, ...told });
  const shape = selectField("Shape", [given.has("points") ? "own" : given.get("shape") ?? "two-moons"], undefined, told);
  const name = (shapes) => {
    shape.names = shapes.join();
    shape.options = [...shapes.map((s) => ({ value: s, label: s.replaceAll("-", " ") })), { value: "own", label: "your own" }];
  };
  const steps = number("Steps", "steps", 25, { min: 1, max: 500, step: 1 });
  const seed = number("Seed", "seed", 0, { min: 0, step: 1 });
  const walkers = sliderField("Walkers", { min: 1, max: 500, value: numberOf(given, "n", 150), oninput: () => renew() });
  const spread = sliderField("Spread of each point", { min: 0.01, max: 0.5, step: 0.01, value: numberOf(given, "spread", 0.05), oninput: () => renew() });
  const compare = checkField("Compare with another solver", given.has("b"), told);
  const otherSteps = number("Steps of B", "b.steps", 10, { min: 1, max: 500, step: 1 });
  const second = h("div", { class: "stack", hidden: true });
  const board = h("div", { class: "board planes" }, planes);
  const place = h("div", { class: "stack" });
  const stage = h("div", { class: "stage aside" }, trouble, board, time,
    h("div", { class: "beside stack" }, words, h("fieldset", { class: "layers" }, h("legend", {}, "What is shown"), layers)));
  let schedule, solver, spacing, other, fields = null;

  show(root, h("div", { class: "ink-page" }, h("h1", {}, title),
    h("p", { class: "lead" }, "Diffusion in the plane, where all of it can be seen. Here the best guess is known exactly: walkers start in a ball of noise and follow the solver to the data."),
    h("div", { class: "ink" },
      stage,
      h("div", { class: "panel stack" }, shape, own, place))));

  constant("parts").then((parts) => {
    const down = parts.solvers.filter((s) => s.tag !== "ddim-inverse");
    const part = (label, entries, name, value) => partField(label, entries, given.get(name) ?? value, told);
    solver = part("Solver", down, "solver", "dpmpp-2m");
    other = part("Solver of B", down, "b", "euler");
    schedule = part("Schedule", parts.schedules, "schedule", "cosine");
    spacing = part("Spacing", parts.spacings, "spacing", "log-snr");
    fields = { shape, solver, steps, schedule, spacing, seed, spread, n: walkers };
    show(second, other, otherSteps);
    show(place, solver, steps, compare, second, schedule, spacing, seed, walkers, spread);
    renew();
  }).catch((e) => { if (e.name !== "AbortError") Object.assign(trouble, { hidden: false, textContent: e.message }); });

  return () => { leaving.abort(); time.stop(); planes.forEach((p) => p.leave()); };
}
