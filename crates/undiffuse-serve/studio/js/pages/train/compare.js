// Two runs over each other: losses on one chart, grids side by side at the same number of pictures, settings that differ.

import { get } from "../../lib/api.js";
import { chart } from "../../lib/chart.js";
import { h, show } from "../../lib/dom.js";
import { duration, figure } from "../../lib/words.js";
import { differences, sameLoss } from "./config.js";
import { axisOf, lossSeries, viewControls } from "./curves.js";
import { reel } from "./reel.js";
import { address, api, badge, seen } from "./state.js";

/** Curves of the first and the second run: loss, validation. */
const CURVES = [[1, 3], [2, 4]];

/** Shows runs `a` and `b` under `root`; returns what ends it. */
export function compare(root, a, b) {
  const stopping = new AbortController();
  const ends = [() => stopping.abort()];
  const body = h("div", { class: "stack" }, h("p", { class: "faint", role: "status" }, "Reading both runs…"));
  root.append(h("p", {}, h("a", { href: "#/train" }, "← All runs")), h("h1", {}, "Two runs"), body);
  const read = (path) => get(path, stopping.signal);
  Promise.all([a, b].flatMap((id) => [read(api(id)), read(api(id, "/metrics?points=400"))]))
    .then(([runA, metricsA, runB, metricsB]) => ends.push(...filled(body, [runA, runB], [metricsA, metricsB])))
    .catch((e) => { if (e.name !== "AbortError") show(body, h("p", { class: "notice bad", role: "alert" }, e.message)); });
  return () => ends.forEach((end) => end());
}

function filled(body, runs, metrics) {
  const reels = [];
  const axis = () => axisOf(view, ...metrics);
  const moved = (k) => (nimg) => { loss.cursor(axis().place(metrics[k].steps, nimg)); };
  const draw = () => loss.draw(metrics.flatMap((m, k) => lossSeries(m, axis(), runs[k].id, CURVES[k])), { title: words, xLabel: axis().words, logY: view.log });
  const words = `Losses of ${runs.map((run) => `${run.id}, ${figure(run.loss)} at the end`).join(" and ")}`;
  const controls = viewControls(draw);
  const { view } = controls;
  const loss = chart({ title: words, height: 320, onpick: (x) => reels.forEach((film, k) => film?.go(axis().back(metrics[k].steps, x))) });
  draw();
  const side = runs.map((run, k) => {
    reels[k] = run.samples.length ? reel({ run: run.id, images: run.samples, onmove: moved(k), label: `${run.id}: pictures seen` }) : null;
    return h("section", { class: "panel stack", ariaLabel: run.id },
      h("h2", {}, h("a", { href: address(run.id) }, run.id), " ", badge(run)),
      h("p", { class: "faint" }, `${seen(run)} in ${duration(run.seconds)}. Loss ${figure(run.loss)}, validation ${figure(run.validation)}.`),
      reels[k] ?? h("p", { class: "empty" }, "No samples yet."));
  });
  const differ = differences(runs[0].config, runs[1].config);
  show(body,
    sameLoss(differ) ? null : h("p", { class: "notice warn" }, "These runs learn from other data or weigh noise in another way, so the sizes of their losses do not mean the same: compare their shapes, and their pictures."),
    h("section", { class: "panel stack", ariaLabel: "Losses" }, h("h2", {}, "Losses"), controls, loss),
    h("div", { class: "run-main even" }, side),
    h("section", { class: "panel" }, h("h2", {}, "Settings that differ"), differ.length
      ? h("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: "Settings that differ" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Setting", runs[0].id, runs[1].id].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, differ.map(({ key, a, b }) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, key)), [a, b].map((value) => h("td", {}, value === "" ? "empty" : value ?? "–")))))))
      : h("p", { class: "faint" }, "None: the same configuration.")));
  return reels.map((film) => () => film?.stop());
}
