// One report: its figures, the audit's verdict, classes, notes, protocol, and its own page.

import { get } from "../../lib/api.js";
import { h, show } from "../../lib/dom.js";
import { selectField } from "../../lib/field.js";
import { base, count, date, figure, some } from "../../lib/words.js";
import { bars, fromZero } from "./bars.js";
import { address } from "./list.js";
import { table as protocolTable } from "./protocol.js";

/** Shows a report under `root`. */
export function one(root, id) {
  const stopping = new AbortController();
  const { signal } = stopping;
  const body = h("div", { class: "stack" }, h("p", { class: "faint", role: "status" }, "Reading the report…"));
  root.append(h("p", {}, h("a", { href: "#/report" }, "← All reports")), h("h1", {}, id), body);
  Promise.all([get(`/api/v1/reports/${encodeURIComponent(id)}`, signal), get("/api/v1/reports", signal)])
    .then(([report, { reports }]) => show(body, filled(report, reports.find((r) => r.id === id), reports)))
    .catch((e) => { if (e.name !== "AbortError") show(body, h("p", { class: "notice bad", role: "alert" }, e.message)); });
  return () => stopping.abort();
}

function filled(report, listed, reports) {
  const { subject, data, audit, classes, notes = [], speed } = report;
  return [
    h("p", { class: "lead" }, `The ${subject.kind} ${base(subject.name)} beside ${base(data)}: ${some(report.protocol.generated.images, "judged picture")}, ${count(report.protocol.data.images)} real ones. ${listed ? `Made ${date(listed.updated)} by` : "By"} ${report.program}.`),
    reports.length > 1 && comparison(listed, reports),
    h("section", { class: "panel" }, h("h2", {}, "Figures"), figures(report, listed)),
    audit && h("section", { class: "panel" }, h("h2", {}, "Copies of training pictures"), verdict(audit)),
    classes?.length ? h("section", { class: "panel" }, h("h2", {}, "Classes"), classTable(classes)) : null,
    notes.length || speed ? h("section", { class: "panel" }, h("h2", {}, "Notes"), h("ul", {}, notes.map((note) => h("li", {}, note)),
      speed && h("li", {}, `${some(speed.images, "picture was", "pictures were")} made for it, ${speed.images_per_second.toFixed(1)} a second on ${speed.device} by ${some(speed.threads, "thread")}.`))) : null,
    h("details", { class: "panel" }, h("summary", {}, "Protocol"), h("p", { class: "faint" }, "All that figures depend on besides the judged pictures. Only reports of the same protocol are compared."),
      h("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: "Protocol" }, protocolTable(report.protocol))),
    listed?.html && whole(listed.id),
  ].filter(Boolean);
}

function comparison(listed, reports) {
  const others = reports.filter((r) => r.id !== listed?.id);
  const like = (r) => (r.fingerprint === listed?.fingerprint ? "same protocol" : "another protocol");
  others.sort((a, b) => like(b).localeCompare(like(a)));
  return h("div", { class: "compare" }, selectField("Compare with", [{ value: "", label: "another report…" }, ...others.map((r) => ({ value: r.id, label: `${r.id} (${like(r)})` }))], "", {
    onchange: (event) => { location.hash = address(listed.id, event.target.value); },
  }));
}

function figures(report, listed) {
  const rows = listed?.figures ?? report.figures.map((f) => ({ ...f, shown: figure(f.value), shown_interval: f.interval?.map(figure).join(" – ") ?? "" }));
  return h("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: "Figures" }, h("table", { class: "figures" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Figure"), h("th", { scope: "col", class: "number" }, "Value"), h("th", { scope: "col" }, "Interval"), h("th", { scope: "col", class: "wide" }, "From zero"))),
    h("tbody", {}, rows.map((f) => h("tr", {},
      h("th", { scope: "row" }, f.name, h("div", { class: "faint small-print" }, `${f.better} is better${f.note ? `; ${f.note}` : ""}`)),
      h("td", { class: "number" }, f.shown), h("td", {}, f.shown_interval || "–"),
      h("td", { class: "wide" }, bars([f], fromZero([f]), `${f.name} ${f.shown}${f.shown_interval ? `, interval ${f.shown_interval}` : ""}`)))))));
}

const percent = (share) => `${(100 * share).toFixed(100 * share < 0.1 ? 2 : 1)} %`;

function verdict({ copies, false_alarms: alarms, left_out: leftOut, training, leaked, repeated }) {
  const clean = copies.count === 0;
  return [
    h("p", { class: `notice ${clean ? "good" : "bad"}` }, clean
      ? `None of ${some(copies.of, "picture")} is a copy of a training picture; at most ${percent(copies.interval[1])} are.`
      : `${count(copies.count)} of ${some(copies.of, "picture")} are copies of training pictures: ${percent(copies.share)} (${percent(copies.interval[0])} to ${percent(copies.interval[1])}).`),
    h("p", {}, `The same test takes ${count(alarms.count)} of ${some(alarms.of, leftOut ? "training picture, each left out in turn" : "real picture that the model has not seen", leftOut ? "training pictures, each left out in turn" : "real pictures that the model has not seen")} for copies: that is its rate of false alarms. It looked at ${some(training, "training picture")}.`),
    leaked ? h("p", {}, `${some(leaked, "held-out picture")} also ${leaked === 1 ? "is" : "are"} in the training set.`) : null,
    repeated ? h("p", {}, `${some(repeated, "judged picture")} ${repeated === 1 ? "repeats" : "repeat"} another one.`) : null,
  ];
}

function classTable(classes) {
  const scale = fromZero(classes.flatMap((c) => [{ value: c.share, interval: c.interval }, { value: c.data }]));
  const off = ({ data, interval: [low, high] }) => (high < data ? "fewer than in the data" : low > data ? "more than in the data" : "as in the data");
  return h("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: "Classes" }, h("table", { class: "figures" },
    h("thead", {}, h("tr", {}, ["Class", "Made", "In the data", "", ""].map((name, k) => (name || k === 3 ? h(name ? "th" : "td", { scope: name ? "col" : null, class: k === 1 || k === 2 ? "number" : k === 3 ? "wide" : "" }, name) : h("th", { scope: "col" }, "Beyond chance"))))),
    h("tbody", {}, classes.map((c) => h("tr", {},
      h("th", { scope: "row" }, c.name), h("td", { class: "number" }, percent(c.share)), h("td", { class: "number" }, percent(c.data)),
      h("td", { class: "wide" }, bars([{ value: c.share, interval: c.interval }, { value: c.data }], scale, `${c.name}: made ${percent(c.share)}, in the data ${percent(c.data)}`)),
      h("td", {}, off(c)))))));
}

/** The report's own page, with its pictures, in a frame that may run nothing. */
function whole(id) {
  const src = `/api/v1/reports/${encodeURIComponent(id)}/html`;
  const place = h("div", {});
  return h("details", { class: "panel", ontoggle: (event) => {
    if (event.target.open && !place.firstChild) place.append(h("iframe", { class: "whole", title: `The whole report ${id}`, sandbox: "", src }));
  } },
  h("summary", {}, "The whole report, with its pictures"),
  h("p", {}, h("a", { href: src, target: "_blank", rel: "noopener" }, "Open it in a tab of its own")), place);
}
