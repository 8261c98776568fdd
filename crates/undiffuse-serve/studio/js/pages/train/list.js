// All runs, each a card that stays up to date, and the form for a new one.

import { get } from "../../lib/api.js";
import { h, show } from "../../lib/dom.js";
import { ago, duration, figure } from "../../lib/words.js";
import { starter } from "./start.js";
import { address, badge, bar, grid, left, recipe, repeated, seen } from "./state.js";

/** Shows the runs under `root`; returns what ends it. */
export function list(root) {
  const stopping = new AbortController();
  const begin = h("div", {});
  const cards = h("ul", { class: "runs", ariaLabel: "Runs" });
  const says = h("div", {}, h("p", { class: "faint", role: "status" }, "Looking for runs…"));
  const known = new Map();
  root.append(
    h("h1", {}, "Train"),
    h("p", { class: "lead" }, "Every training leaves a run: its curves, the pictures it drew on the way, and a model. Choose one to watch it learn."),
    h("div", { class: "stack" }, begin, says, cards));

  const refresh = async () => {
    let runs;
    try {
      ({ runs } = await get("/api/v1/runs", stopping.signal));
    } catch (e) {
      if (e.name !== "AbortError") show(says, h("p", { class: "notice bad", role: "alert" }, e.message));
      return;
    }
    show(says, runs.length === 0 && h("div", { class: "empty" },
      h("p", {}, "There is no run yet where the service looks."),
      h("p", {}, "Train one with ", h("code", {}, "undiffuse train --data PICTURES"), " (without a flag: on the pictures that come with it, in five minutes), or start the service on the folder of your runs: ", h("code", {}, "undiffuse serve runs/"), ".")));
    const there = new Set(runs.map((run) => run.id));
    for (const [id, { item }] of known) if (!there.has(id)) { item.remove(); known.delete(id); }
    // Cards are kept and only refilled, so that nobody loses the place that they had reached.
    runs.forEach((run, k) => {
      const card = known.get(run.id) ?? known.set(run.id, makeCard(run)).get(run.id);
      card.fill(run);
      if (cards.children[k] !== card.item) cards.insertBefore(card.item, cards.children[k] ?? null);
    });
  };

  get("/api/v1/about", stopping.signal).then((about) => begin.append(starter(about, known)), () => {});
  const stop = repeated(refresh, 3);
  return () => { stop(); stopping.abort(); };
}

function makeCard({ id }) {
  const picture = h("div", { class: "run-picture" });
  const facts = h("div", {});
  const state = h("span", {});
  let shown, filled;
  const item = h("li", { class: "run panel" },
    picture,
    h("div", { class: "run-words" }, h("h2", {}, h("a", { href: address(id) }, id), " ", state), facts));
  const fill = (run) => {
    const last = run.samples?.at(-1);
    if (last !== shown || !picture.firstChild) {
      shown = last;
      show(picture, last === undefined
        ? h("span", { class: "faint" }, "No samples yet")
        : h("img", { class: "pixels", src: grid(id, last), alt: "", loading: "lazy" }));
    }
    const look = JSON.stringify([run, ago(run.updated)]);
    if (look === filled) return;
    filled = look;
    show(state, badge(run));
    const rest = left(run);
    show(facts,
      h("p", { class: "faint" }, recipe(run)),
      run.state === "training" || run.state === "stopped" ? bar(run) : null,
      h("p", {}, seen(run), rest === null ? null : `, ${duration(rest)} left`),
      h("dl", { class: "facts" }, [
        ["Loss", figure(run.loss)],
        ["Validation", figure(run.validation)],
        run.state === "training" ? ["Pictures/s", figure(run.images_per_second)] : ["Trained for", duration(run.seconds)],
        ["Changed", ago(run.updated)],
      ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
  };
  return { item, fill };
}
