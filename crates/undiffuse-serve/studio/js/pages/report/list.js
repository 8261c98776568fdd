// All reports, and the choice of two.

import { get } from "../../lib/api.js";
import { h, show } from "../../lib/dom.js";
import { ago, base, count, some } from "../../lib/words.js";

/** The address of a report, or of two side by side. */
export const address = (...ids) => `#/report/${ids.map(encodeURIComponent).join("/")}`;

/** What was judged: "model demo-run". */
export const judged = (report) => `${report.kind} ${base(report.subject)}`;

/** Figures that stand in the list, where reports have them. */
const FIRST = ["fid", "kid", "precision", "recall", "bound", "ode"];

/** Shows all reports under `root`. */
export function list(root) {
  const stopping = new AbortController();
  const body = h("div", { class: "stack" }, h("p", { class: "faint", role: "status" }, "Looking for reports…"));
  root.append(
    h("h1", {}, "Report"),
    h("p", { class: "lead" }, "What models are worth: distances to real pictures, precision and recall, likelihood, copies, all with intervals. Choose two to see them side by side."),
    body);
  get("/api/v1/reports", stopping.signal).then(({ reports, unreadable }) => show(body, reports.length ? table(reports) : !unreadable.length && empty(), unreadable.length > 0 && illegible(unreadable)),
    (e) => { if (e.name !== "AbortError") show(body, h("p", { class: "notice bad", role: "alert" }, e.message)); });
  return () => stopping.abort();
}

const empty = () => h("div", { class: "empty" },
  h("p", {}, "There is no report yet where the service looks."),
  h("p", {}, "Make one with ", h("code", {}, "undiffuse eval RUN"), ", or show the service where yours are: ", h("code", {}, "undiffuse serve --reports FOLDER"), "."));

/** Reports that cannot be read, and why. */
const illegible = (reports) => h("section", { class: "notice warn" },
  h("h2", {}, `${some(reports.length, "report")} cannot be read`),
  h("ul", {}, reports.map(({ id, detail }) => h("li", {}, h("b", {}, id), h("span", { class: "faint" }, `: ${detail}`)))),
  h("p", {}, h("code", {}, "undiffuse eval"), " makes new ones."));

function table(reports) {
  let chosen = [];
  const says = h("span", { class: "faint", role: "status" });
  const go = h("button", { class: "primary", type: "button", onclick: () => { location.hash = address(...chosen); } }, "Compare");
  const columns = FIRST.filter((tag) => reports.some((r) => r.figures.some((f) => f.tag === tag))).slice(0, 4);
  const name = (tag) => reports.flatMap((r) => r.figures).find((f) => f.tag === tag).name;
  const rows = reports.map((report) => {
    const box = h("input", { type: "checkbox", ariaLabel: `Compare ${report.id}`, onchange: () => {
      chosen = box.checked ? [...chosen, report.id].slice(-2) : chosen.filter((id) => id !== report.id);
      tell();
    } });
    const alike = h("span", { class: "faint" });
    const protocol = h("td", {}, h("code", { title: report.fingerprint }, report.fingerprint.slice(0, 6)), alike);
    const tag = (tag) => {
      const figure = report.figures.find((f) => f.tag === tag);
      return h("td", { class: "number", title: figure?.shown_interval }, figure?.shown ?? "–");
    };
    const row = h("tr", {},
      h("td", {}, box),
      h("th", { scope: "row" }, h("a", { href: address(report.id) }, report.id), h("div", { class: "faint" }, judged(report))),
      h("td", { class: "number" }, count(report.images)), columns.map(tag), protocol, h("td", {}, ago(report.updated)));
    return { report, box, row, alike };
  });
  const tell = () => {
    const first = rows.find(({ report }) => report.id === chosen[0])?.report;
    for (const { report, box, row, alike } of rows) {
      box.checked = chosen.includes(report.id);
      row.classList.toggle("chosen", box.checked);
      alike.textContent = !first || report === first ? "" : report.fingerprint === first.fingerprint ? " the same" : " another";
    }
    const alike = first ? rows.filter(({ report }) => report.fingerprint === first.fingerprint).length - 1 : 0;
    go.disabled = chosen.length !== 2;
    says.textContent = ["Choose two reports.", `One chosen. ${alike ? `${alike} ${alike === 1 ? "other was" : "others were"}` : "No other was"} made by the same protocol; figures of other protocols are not compared.`, `${chosen.join(" and ")} chosen.`][chosen.length];
  };
  tell();
  return h("div", { class: "stack" },
    h("div", { class: "row" }, go, says),
    h("div", { class: "scroll", tabIndex: 0, role: "region", ariaLabel: "Reports" }, h("table", { class: "reports" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Compare")), h("th", { scope: "col" }, "Report"), h("th", { scope: "col", class: "number" }, "Pictures"),
        columns.map((tag) => h("th", { scope: "col", class: "number" }, name(tag))), h("th", { scope: "col" }, "Protocol"), h("th", { scope: "col" }, "Made"))),
      h("tbody", {}, rows.map(({ row }) => row)))));
}
