// From what a PNG says about itself to settings of the form.

import { post } from "../../lib/api.js";
import { PLAIN } from "./more.js";

const stripped = (name) => name.replace(/[\\/]+$/, "").replace(/[\\/]model$/, "").split(/[\\/]/).pop();
// Older PNGs have the path of the data, where newer ones have its name.
const told = (training) => JSON.stringify(Object.entries({ ...training, data: stripped(String(training.data)) }).sort());
const alike = (a, b) => a && b && told(a) === told(b);

/** The LoRAs of a PNG's facts, as prompts name them. */
const lorasOf = ({ lora }) => (Array.isArray(lora) ? lora : []).filter((one) => typeof one?.file === "string" && Number.isFinite(one.scale))
  .map(({ file, scale }) => `<lora:${stripped(file).replace(/\.safetensors$/, "")}:${scale}>`);

/** What a PNG's facts say that it shows, under the field's name. Older ones have `none` for a label without a name, too; models of others, which say nothing of their training, knew no other. */
function askOf(facts, model) {
  const field = model?.ask?.field ?? "class";
  const { [field]: word, label, trained } = facts;
  if (!present(word)) return { [field]: [] };
  const shown = word === "none" && !trained && Number.isInteger(label) ? String(label) : String(word);
  return { [field]: [[shown, ...lorasOf(facts)].filter(Boolean).join(" ")] };
}

/** The model that made a picture: the same name, the same folder's name, or the same training under another name. */
export function modelOf(facts, models) {
  const name = typeof facts.model === "string" ? facts.model : "";
  return models.find(({ id }) => id === name) ?? models.find(({ id }) => name && id === stripped(name)) ?? models.find(({ provenance }) => alike(provenance, facts.trained));
}

/** Ways of making pictures that only the command line has. */
const ELSEWHERE = { adaptive: "an adaptive walk", optimal_variance: "optimal variances", corrector: "a corrector", init_noise: "noise from a file", observed: "an observed picture" };

const present = (value) => value !== undefined && value !== null && value !== false;
// Anybody may have written what a file says.
const word = (value) => (typeof value === "string" ? value : undefined);
const number = (value) => (Number.isFinite(value) ? value : undefined);
/** "0.3:5" as two numbers. */
const interval = (value) => (word(value)?.split(":").map(Number) ?? []).filter(Number.isFinite);
/** Of longer texts the end is read, where the settings are. */
const LONGEST = 16000;

/**
 * Settings in `facts` (the text chunk `undiffuse`), and `notes`: sentences about what cannot be had here. `from` says what the picture was started
 * from: noise, picture or paint.
 */
export function restored(facts, models) {
  const model = modelOf(facts, models);
  const notes = [];
  if (!model && facts.model) notes.push(`The model “${stripped(String(facts.model))}” is not here: the rest is set, for the model that is chosen.`);
  const [width, height] = /^(\d+)\s*[x×]\s*(\d+)$/.exec(facts.size ?? "")?.slice(1).map(Number) ?? [facts.width, facts.height];
  const seed = Number(facts.seed);
  const seedKnown = present(facts.seed) && Number.isSafeInteger(seed) && seed >= 0;
  if (present(facts.seed) && !seedKnown) notes.push("Its seed is too large for this page; the API takes it.");
  const from = present(facts.mask) ? "paint" : present(facts.init_image) ? "picture" : "noise";
  if (from !== "noise") notes.push("It was started from another picture, which is not in the file: give that one under “Start from”.");
  for (const [key, words] of Object.entries(ELSEWHERE)) {
    if (present(facts[key])) notes.push(`It was made with ${words}, which only the command line has.`);
  }
  const known = Object.entries({
    model: model?.id,
    n: 1,
    seed: seedKnown ? seed : undefined,
    ...askOf(facts, model),
    negative: word(facts.negative) ?? "",
    solver: word(facts.solver),
    spacing: word(facts.spacing),
    steps: number(facts.steps),
    eta: number(facts.eta),
    guidance: number(facts.guidance),
    guidance_rescale: number(facts.guidance_rescale) ?? PLAIN.guidance_rescale,
    guidance_interval: interval(facts.guidance_interval),
    clip_skip: number(facts.clip_skip) ?? PLAIN.clip_skip,
    emphasis: word(facts.emphasis) ?? PLAIN.emphasis,
    width: number(width),
    height: number(height),
    strength: number(facts.strength),
    from,
  }).filter(([, value]) => present(value));
  return { settings: Object.fromEntries(known), notes };
}

/** As `restored`, from the text `parameters` of another program; the service reads it, for `model` where it names none that is here. */
export async function translated(parameters, { id, ask }) {
  const { settings, notes } = await post("/api/v1/parameters", { text: parameters.slice(-LONGEST), model: id });
  return { settings: { n: 1, ...PLAIN, ...(ask && { [ask.field]: [], negative: "" }), from: present(settings.strength) ? "picture" : "noise", ...settings }, notes };
}
