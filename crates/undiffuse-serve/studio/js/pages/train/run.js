// One run, live: its pictures in time beside its curves, then what the doctor says, its configuration and its log.

import { get, listen, text } from "../../lib/api.js";
import { chooser } from "../../lib/choose.js";
import { h, notice, show } from "../../lib/dom.js";
import { checkField } from "../../lib/field.js";
import { ago, base, count, duration, figure, some } from "../../lib/words.js";
import { control } from "./control.js";
import { curves } from "./curves.js";
import { doctor } from "./doctor.js";
import { reel } from "./reel.js";
import { address, api, badge, bar, left, recipe, repeated, seen } from "./state.js";

/** Shows a run under `root`; returns what ends it. */
export function one(root, id) {
  const stopping = new AbortController();
  const ends = [() => stopping.abort()];
  const body = h("div", { class: "stack" }, h("p", { class: "faint", role: "status" }, "Reading the run…"));
  root.append(h("p", {}, h("a", { href: "#/train" }, "← All runs")), h("h1", {}, id), body);
  (async () => {
    const [run, about] = await Promise.all([get(api(id), stopping.signal), get("/api/v1/about", stopping.signal)]);
    ends.push(...filled(root, body, run, about, stopping.signal));
  })().catch((e) => {
    if (e.name !== "AbortError") show(body, h("p", { class: "notice bad", role: "alert" }, e.message));
  });
  return () => ends.forEach((end) => end());
}

function filled(root, body, run, about, signal) {
  const { id } = run;
  const state = h("span", {});
  root.querySelector("h1").append(" ", state);
  const facts = h("div", { class: "stack" });
  const actions = h("div", { class: "row" });
  const lost = h("p", { class: "notice warn", role: "status", hidden: true }, "The service does not answer: what you see may be old. This page goes on by itself when it does again.");
  const status = h("p", { class: "visually-hidden", role: "status" });
  const pictures = h("section", { class: "panel stack", ariaLabel: "Samples in time" });
  const chart = curves({ onpick: (nimg) => { film?.go(nimg); chart.cursor(nimg); } });
  let film = null;
  let drawn = -1;

  const update = (fresh) => {
    lost.hidden = true;
    const told = fresh.state !== run.state || !state.firstChild;
    run = { ...run, ...fresh };
    show(state, badge(run));
    const rest = left(run);
    show(facts,
      run.state === "training" || run.state === "stopped" ? bar(run) : null,
      h("dl", { class: "facts" }, [
        ["Seen", seen(run)], ["Loss", figure(run.loss)], ["Validation", figure(run.validation)], ["Pictures/s", figure(run.images_per_second)],
        ["Trained for", duration(run.seconds)], rest === null ? null : ["Left", duration(rest)], ["Changed", ago(run.updated)],
      ].filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
    if (told) {
      const there = actions.contains(document.activeElement);
      show(actions,
        run.model && h("a", { class: "button", href: `#/generate/${encodeURIComponent(run.model)}` }, "Generate with it"),
        control(run, about.allow_train, update),
        comparison(run, signal));
      if (there) actions.querySelector("a, button")?.focus();
      status.textContent = `${id}: ${run.state}, ${seen(run)}`;
    }
    if (run.samples.length && film) film.add(run.samples);
    else if (run.samples.length) {
      film = reel({ run: id, images: run.samples, onmove: (nimg) => chart.cursor(nimg) });
      show(pictures, h("h2", {}, "What it draws"), film);
    } else if (!pictures.firstChild) {
      show(pictures, h("h2", {}, "What it draws"), h("p", { class: "empty" }, run.state === "training" ? "No samples yet: the first come when a part of its length is done." : "It stopped before it drew its first samples."));
    }
    if (run.images !== drawn) measure();
  };

  // The metrics are asked for again when there are more, one request at a time.
  let asking = false;
  const measure = async () => {
    if (asking) return;
    asking = true;
    drawn = run.images;
    try {
      chart.draw(await get(api(id, "/metrics?points=600"), signal));
    } catch (e) {
      if (e.name !== "AbortError") notice(e.message, "bad");
    }
    setTimeout(() => { asking = false; if (run.images !== drawn && !signal.aborted) measure(); }, 1500);
  };

  show(body,
    h("p", { class: "lead" }, [recipe(run), run.parameters && some(run.parameters, "weight"), run.classes?.length && some(run.classes.length, "class", "classes")].filter(Boolean).join(", ")),
    status, lost, facts, actions,
    h("div", { class: "run-main" }, pictures, h("section", { class: "panel stack", ariaLabel: "Loss in time" }, h("h2", {}, "Loss"), chart.loss)),
    h("section", { class: "panel" }, h("h2", {}, "The optimizer"), chart.others),
    doctor(id, () => run.state, signal),
    configuration(run),
    log(id, () => run.state, signal),
    evaluations(run, signal));
  update(run);
  const silence = listen(api(id, "/events"), { run: update, lost: () => { lost.hidden = false; } });
  // Words such as "5 min ago" go on without news, too.
  const ticking = setInterval(() => update({}), 30000);
  return [silence, () => clearInterval(ticking), () => film?.stop()];
}

/** A choice of another run whose curves are laid over these. */
function comparison(run, signal) {
  const box = h("div", {});
  get("/api/v1/runs", signal).then(({ runs }) => {
    const others = runs.filter((other) => other.id !== run.id && other.state !== "empty").map((other) => other.id);
    if (others.length) show(box, chooser("Other run", others, "Compare", (other) => { location.hash = address(run.id, other); }));
  }, () => {});
  return box;
}

function configuration(run) {
  const code = h("pre", { class: "long", tabIndex: 0, role: "region", ariaLabel: "Configuration" }, run.config);
  const copy = h("button", { class: "small", type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(run.config);
      notice("The configuration is on the clipboard.", "good");
    } catch {
      getSelection().selectAllChildren(code);
      notice("This browser keeps pages from the clipboard here: the text is selected, copy it with Ctrl-C.", "warn");
    }
  } }, "Copy");
  return h("details", { class: "panel" },
    h("summary", {}, "Configuration"),
    h("div", { class: "stack" },
      h("p", { class: "faint" }, "The whole of it, as TOML; of the data it has the name. ", h("code", {}, "undiffuse train --config FILE --data FOLDER"), " starts another run from it."),
      h("div", {}, copy), code));
}

function log(id, state, signal) {
  const out = h("pre", { class: "long", tabIndex: 0, role: "region", ariaLabel: "Log" });
  const follow = checkField("Follow", true, { onchange: () => { if (follow.value) out.scrollTop = out.scrollHeight; } });
  let stop = null;
  const read = async () => {
    try {
      const said = await text(api(id, "/log?lines=500"), signal);
      const words = said || "This run has no log. Runs that are started from this page keep one; a run in a terminal talks to its terminal.";
      if (out.textContent !== words) out.textContent = words;
      if (follow.value) out.scrollTop = out.scrollHeight;
    } catch (e) {
      if (e.name !== "AbortError") out.textContent = e.message;
    }
    if (state() !== "training") { stop?.(); stop = null; }
  };
  signal.addEventListener("abort", () => stop?.());
  return h("details", { class: "panel", ontoggle: (event) => { stop?.(); stop = event.target.open ? repeated(read, 2) : null; } },
    h("summary", {}, "Log"), h("div", { class: "stack" }, follow, out));
}

/** Reports that judge this run's model. */
function evaluations(run, signal) {
  const box = h("section", { class: "panel" }, h("h2", {}, "Reports"));
  const name = base(run.id);
  get("/api/v1/reports", signal).then(({ reports }) => {
    const its = reports.filter((report) => base(report.subject.replace(/\/model\/*$/, "")) === name);
    box.append(its.length
      ? h("ul", {}, its.map((report) => h("li", {}, h("a", { href: `#/report/${encodeURIComponent(report.id)}` }, report.id), h("span", { class: "faint" }, ` ${count(report.images)} pictures, ${ago(report.updated)}`))))
      : h("p", { class: "faint" }, "No report judges it yet. ", h("code", {}, "undiffuse eval RUN"), " with its folder makes one; ", h("a", { href: "#/report" }, "all reports"), "."));
  }, () => box.remove());
  return box;
}
