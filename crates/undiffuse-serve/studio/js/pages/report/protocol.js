// The protocol of a report in words.

import { h } from "../../lib/dom.js";

/** Path of a protocol's part → what it is. */
const WORDS = {
  version: "Version of the formulas",
  "features.network": "Feature network",
  "features.fingerprint": "Weights of the feature network",
  "features.input": "How pictures enter the feature network",
  "features.dims": "Numbers in a feature vector",
  "data.fingerprint": "Real pictures",
  "data.images": "Number of real pictures",
  "data.size": "Side of real pictures in pixels",
  "data.channels": "Channels of real pictures",
  "generated.images": "Number of judged pictures",
  "generated.original": "Pictures before resizing",
  "generated.seeds": "Seeds, first and last",
  "generated.conditions": "How it was chosen what they show",
  "generated.told": "What the data say of their pictures",
  "generated.solver": "Solver",
  "generated.spacing": "Spacing",
  "generated.steps": "Steps",
  "generated.guidance": "Guidance",
  pairs: "Real pictures in measures of pairs",
  seed: "Seed of the measures",
  resamples: "Bootstrap resamples behind intervals",
  "likelihood.data": "Likelihood: held-out pictures",
  "likelihood.told": "Likelihood: what the data say of them",
  "likelihood.images": "Likelihood: number of pictures",
  "likelihood.steps": "Likelihood: steps of the bound",
  "likelihood.settings": "Likelihood: other settings",
  "audit.training": "Audit: training pictures",
  "audit.images": "Audit: number of training pictures",
  "audit.held_out": "Audit: held-out pictures",
  "audit.held_out_images": "Audit: number of held-out pictures",
};

/** A part of a protocol in words, its path where there are none. */
export const part = (path) => WORDS[path] ?? path;

/** A value as it is read: fingerprints are cut short, nothing is named. */
export function told(value) {
  if (value === null || value === undefined || value === "" || value === "null") return "not given";
  const text = (Array.isArray(value) ? value.join(" to ") : String(value)).replace(/^\[([^,\]]+), ?([^,\]]+)\]$/, "$1 to $2");
  return /^"?[0-9a-f]{64}"?$/.test(text) ? `${text.replaceAll('"', "").slice(0, 12)}…` : text;
}

/** Every value of a protocol with its path. */
const flat = (value, path = "") =>
  (value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key))
    : [[path, value]]);

/** A protocol as a table. */
export const table = (protocol) => h("table", {},
  h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Part"), h("th", { scope: "col" }, "Value"))),
  h("tbody", {}, flat(protocol).filter(([, value]) => value !== null).map(([path, value]) => h("tr", {}, h("th", { scope: "row", title: path }, part(path)), h("td", { title: String(value) }, told(value))))));

/** Differences of two protocols as a table. */
export const differences = (all, a, b) => h("table", {},
  h("thead", {}, h("tr", {}, ["What differs", a, b].map((name) => h("th", { scope: "col" }, name)))),
  h("tbody", {}, all.map(({ path, a, b }) => h("tr", {}, h("th", { scope: "row", title: path }, part(path)), h("td", { title: a }, told(a)), h("td", { title: b }, told(b))))));
