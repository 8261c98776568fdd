// What the doctor says about a run.

import { get } from "../../lib/api.js";
import { h, show } from "../../lib/dom.js";
import { some } from "../../lib/words.js";
import { api } from "./state.js";

const LOOKS = { problem: "bad", warning: "warn", note: "" };

/** A section that asks the doctor when told to: it tries the network and may take some seconds of the machine that trains. */
export function doctor(id, state, signal) {
  const out = h("div", { class: "stack", role: "status" });
  const ask = h("button", { type: "button", onclick: async () => {
    ask.disabled = true;
    show(out, h("p", { class: "faint" }, "The doctor reads the log, tries the network and looks at its pictures. It takes some seconds…"));
    try {
      const { findings, unseen = [], checks } = await get(api(id, "/doctor"), signal);
      show(out,
        findings.length === 0 && h("p", { class: "notice good" }, `${checks ? `${some(checks, "check")}: ` : ""}nothing is wrong that the doctor knows of.`),
        findings.map((f) => h("div", { class: `notice ${LOOKS[f.severity] ?? ""}` },
          h("h3", {}, h("span", { class: `badge ${LOOKS[f.severity] ?? ""}` }, f.severity), " ", f.found),
          f.evidence?.length ? h("ul", { class: "faint" }, f.evidence.map((line) => h("li", {}, line))) : null,
          h("p", {}, f.advice))),
        unseen.length ? h("details", {}, h("summary", {}, "What it could not look at"), h("ul", {}, unseen.map((line) => h("li", {}, line)))) : null);
      ask.textContent = "Examine again";
    } catch (e) {
      if (e.name !== "AbortError") show(out, h("p", { class: "notice bad" }, e.message));
    }
    ask.disabled = false;
  } }, "Examine this run");
  return h("section", { class: "panel stack" },
    h("h2", {}, "Doctor"),
    h("p", { class: "faint" }, "Looks for what is likely wrong with a training, shows the numbers that say so, and what to change.", state() === "training" ? " It takes a little of the time that the training has." : ""),
    h("div", {}, ask), out);
}
