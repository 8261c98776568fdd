// Two reports side by side, or why they cannot be.

import { get } from "../../lib/api.js";
import { h, show } from "../../lib/dom.js";
import { some } from "../../lib/words.js";
import { bars, close } from "./bars.js";
import { address } from "./list.js";
import { differences } from "./protocol.js";

/** Shows two reports under `root`. */
export function compare(root, a, b) {
  const stopping = new AbortController();
  const body = h("div", { class: "stack" }, h("p", { class: "faint", role: "status" }, "Comparing…"));
  root.append(
    h("p", {}, h("a", { href: "#/report" }, "← All reports")),
    h("h1", {}, "Side by side"),
    h("p", { class: "row" }, key("A", 1), h("a", { href: address(a) }, a), key("B", 2), h("a", { href: address(b) }, b), h("a", { class: "button", href: address(b, a) }, "Swap")),
    body);
  get(`/api/v1/reports/compare?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`, stopping.signal).then(
    ({ lines }) => show(body, table(lines)),
    (e) => {
      if (e.name === "AbortError") return;
      show(body, e.code === "not_comparable" && e.body?.differences ? refused(e.body.differences) : h("p", { class: "notice bad", role: "alert" }, e.message));
    });
  return () => stopping.abort();
}

const key = (name, curve) => h("span", { class: `badge key-${curve}` }, name);

/** Who is better, in words. */
const winner = (line) => {
  if (line.winner) return `${line.winner.toUpperCase()} is better, beyond the intervals.`;
  return line.a.interval && line.b.interval ? "No difference beyond chance." : "Without intervals nobody can tell.";
};

function table(lines) {
  const won = (who) => lines.filter((line) => line.winner === who).length;
  const [a, b] = [won("a"), won("b")];
  const even = lines.length - a - b;
  const value = (figure) => h("td", { class: "number" }, figure.shown, h("div", { class: "faint small-print" }, figure.shown_interval));
  return [
    h("p", { class: "notice", role: "status" }, `A is better in ${some(a, "figure")}, B in ${b}; ${even} of ${lines.length} show no difference beyond chance.`),
    h("div", { class: "scroll panel", tabIndex: 0, role: "region", ariaLabel: "Figures of both reports" }, h("table", { class: "figures" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Figure"), h("th", { scope: "col", class: "number" }, "A"), h("th", { scope: "col", class: "number" }, "B"), h("th", { scope: "col", class: "wide" }, "Intervals, A above B"))),
      h("tbody", {}, lines.map((line) => h("tr", {},
        h("th", { scope: "row" }, line.name, h("div", { class: line.winner ? "winner" : "faint" }, winner(line)), h("div", { class: "faint small-print" }, `${line.better} is better`)),
        value(line.a), value(line.b),
        h("td", { class: "wide" }, bars([line.a, line.b], close([line.a, line.b]), `A ${line.a.shown}, ${line.a.shown_interval}; B ${line.b.shown}, ${line.b.shown_interval}`))))))),
  ];
}

const refused = (all) => [
  h("div", { class: "notice warn", role: "status" },
    h("p", {}, "These two were made by different protocols, so their figures do not mean the same and are not put side by side."),
    h("p", {}, "Evaluate one of them again with the other's settings; what differs:")),
  h("div", { class: "scroll panel", tabIndex: 0, role: "region", ariaLabel: "Differences of the protocols" }, differences(all, "A", "B")),
];
