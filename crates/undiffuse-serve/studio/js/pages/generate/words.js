// Settings, times and requests in words.

import { h } from "../../lib/dom.js";
import { duration, some } from "../../lib/words.js";
import { PLAIN } from "./more.js";

const MORE = Object.keys(PLAIN);
// What of a request or picture is no ask.
const OTHERS = new Set(["index", "url", "png", "model", "negative", "notes", "n", "seed", "seeds", "solver", "spacing", "steps", "eta", ...MORE, "guidance", "width", "height", "init_image", "strength", "mask", "frames"]);

/** What a request asks for, or a picture shows: the field's name and a list of words, or nothing. */
export const askOf = (of) => Object.entries(of).filter(([name, value]) => !OTHERS.has(name) && value !== null).map(([name, value]) => [name, [value].flat()])[0];

/** The same as settings of the form, none being none. */
function asksOf(of, model) {
  const [field, words] = askOf(of) ?? [model?.ask?.field ?? "class", []];
  return { [field]: words };
}

/** Of longer words the beginning is shown where there is little room. */
const SHOWN = 80;

/** Whether a job's pictures show different things. */
export const differ = ({ request }) => askOf(request)?.[1].length !== 1;

/** What a picture shows, if that is known. */
export const shows = (made) => askOf(made)?.[1][0] || undefined;

/** The beginning of words, apart from what stands beside them: they may be written the other way. */
export const briefly = (words, most = SHOWN) => words && h("bdi", {}, words.length > most ? `${[...words].slice(0, most).join("")}…` : words);

/** A job's settings with the model's own where it asked for none. `model` may be missing. */
export function settingsOfJob(job, model) {
  const { request } = job;
  const own = model?.defaults ?? {};
  return {
    model: job.model,
    n: job.n,
    seed: request.seeds?.[0] ?? request.seed ?? 0,
    ...asksOf(request, model),
    negative: [request.negative ?? ""].flat()[0],
    solver: request.solver ?? own.solver,
    spacing: request.spacing ?? own.spacing,
    steps: request.steps ?? own.steps,
    eta: request.eta,
    guidance: request.guidance ?? own.guidance,
    ...Object.fromEntries(MORE.map((name) => [name, request[name] ?? own[name] ?? PLAIN[name]])),
    width: request.width,
    height: request.height,
    strength: request.strength,
  };
}

/** Those of one picture of it: asked for alone, they give the same picture. */
export const settingsOfPicture = (job, made, model) => ({ ...settingsOfJob(job, model), n: 1, seed: made.seed, ...asksOf(made, model), negative: made.negative });

/** Names and values of settings, for a list. */
export function described(settings, model) {
  return [
    ["Seed", settings.seed],
    [model?.ask?.schema.title ?? "Class", settings[model?.ask?.field ?? "class"]?.join(", ")],
    ["Negative", settings.negative],
    ["Solver", settings.solver && (settings.eta === undefined ? settings.solver : `${settings.solver}, eta ${settings.eta}`)],
    ["Spacing", settings.spacing],
    ["Steps", settings.steps],
    ["Guidance", model && !model.guidance ? null : settings.guidance],
    ["Guidance scaled back", settings.guidance_rescale || null],
    ["Guided at noise", settings.guidance_interval?.join(" to ")],
    ["Layers left out", settings.clip_skip || null],
    ["Brackets", settings.emphasis === PLAIN.emphasis ? null : settings.emphasis],
    ["Strength", settings.strength],
    ["Size", settings.width && settings.height ? `${settings.width} × ${settings.height}` : null],
    ["Model", settings.model],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
}

/** What the service says, as a sentence. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** "16 pictures". */
export const pictures = (n) => some(n, "picture");

/** Of many words that take turns, so many are shown. */
const TURNS = 6;

/** Parts of a line, set apart. */
const apart = (parts) => parts.filter(Boolean).flatMap((part, k) => [k > 0 && " · ", part]);

/** What a job asks for, in parts: the words that take turns, and what they are kept away from. */
export function asksInShort({ request }) {
  const words = (askOf(request)?.[1] ?? []).map(String).filter(Boolean);
  const [away] = [request.negative].flat();
  return apart([
    ...words.slice(0, TURNS).map((word) => briefly(word, 2 * SHOWN)),
    words.length > TURNS && h("span", { class: "faint" }, `${words.length - TURNS} more`),
    away && h("span", { class: "faint" }, "not ", briefly(away)),
  ]);
}

/** How a job is sampled in a line, in parts. */
export function inShort(job, model) {
  const s = settingsOfJob(job, model);
  const seeds = job.request.seeds ?? [s.seed];
  const last = s.seed + job.n - 1;
  const words = [
    job.request.mask || job.from_image ? `from a picture${s.strength === undefined ? "" : `, strength ${s.strength}`}` : null,
    s.solver && (s.eta === undefined ? s.solver : `${s.solver}, eta ${s.eta}`),
    s.spacing,
    s.steps && some(s.steps, "step"),
    model?.guidance && s.guidance !== undefined ? `guidance ${s.guidance}` : null,
    s.width && s.height ? `${s.width} × ${s.height}` : null,
    seeds.length > 1 ? `seeds ${seeds.slice(0, 4).join(", ")}${seeds.length > 4 ? ", …" : ""}` : job.n > 1 ? `seeds ${s.seed} to ${last}` : `seed ${s.seed}`,
  ];
  return apart(words);
}

/** "1.4 s", "2 min 5 s". */
export const lasting = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds));

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The request as a command for a shell; `abridged` leaves out most of the pictures in it, for reading. */
export function curl(request, { token = false, abridged = false } = {}) {
  const short = (key, value) => (abridged && typeof value === "string" && value.startsWith("data:") ? `${value.slice(0, 32)}…` : value);
  return [
    `curl -sS ${location.origin}/api/v1/generate`,
    "-H 'Content-Type: application/json'",
    token && "-H \"Authorization: Bearer $UNDIFFUSE_TOKEN\"",
    `-d ${quoted(JSON.stringify(request, short))}`,
  ].filter(Boolean).join(" \\\n  ");
}
