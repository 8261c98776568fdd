// The form for a new training.

import { post } from "../../lib/api.js";
import { h, notice, show } from "../../lib/dom.js";
import { checkField, numberField, selectField, textField } from "../../lib/field.js";
import { lengthFields } from "./length.js";
import { address } from "./state.js";

/** Preset → what it is. Presets that are not here are shown by their names. */
const PRESETS = {
  quick: "The best of small pictures in five minutes on two CPU cores: a narrow network, v-prediction, cosine schedule.",
  ddpm: "Denoising diffusion (Ho 2020): the network answers the noise, linear betas, the simple loss.",
  "improved-ddpm": "Improved DDPM (Nichol 2021): learns the variance of each step, too; cosine schedule.",
  "cosine-v": "v-prediction on the cosine schedule (Salimans 2022) with min-SNR weights.",
  ncsn: "Score matching over a ladder of noise (Song 2019): the variance-exploding process.",
  edm: "Elucidated diffusion (Karras 2022): a preconditioned network, log-normal noise levels, Heun's solver.",
  flow: "Rectified flow (Liu 2023): straight paths, logit-normal times, Euler's method.",
};

/** How long it takes when nothing else is said. */
const BUDGETS = { quick: "5m" };

/** `train.lr = 3e-4` a line → { "train.lr": 0.0003 }. Values are JSON where they can be, words otherwise. Throws which line is wrong. */
export function settings(text) {
  const lines = text.split("\n").map((line, k) => [line.replace(/#.*/, "").trim(), k + 1]).filter(([line]) => line);
  return Object.fromEntries(lines.map(([line, k]) => {
    const [, key, value] = /^([\w.]+)\s*=\s*(.+)$/.exec(line) ?? [];
    if (!key) throw new Error(`Line ${k}, “${line}”: write KEY=VALUE, such as train.lr=3e-4.`);
    try { return [key, JSON.parse(value)]; } catch { return [key, value.replace(/^'(.*)'$/, "$1")]; }
  }));
}

/** What to do when trainings are not allowed from here. */
const closed = () => h("p", { class: "notice" }, "To start, stop and resume trainings from this page, start the service with ", h("code", {}, "undiffuse serve --allow-train"), ". Runs that other programs train are shown live in any case.");

/** A button that opens the form for a new run, or words on how to allow that. `about` is the service's description, `known` holds the names there are. */
export function starter(about, known) {
  if (!about.allow_train) return closed();
  if (!about.datasets.length) return h("p", { class: "notice warn" }, "There is no data set to train on. Put a folder of pictures, or a .zip of one, into the folder that the service was given as ", h("code", {}, "--datasets"), " and load this page again.");
  const form = newRun(about, known);
  form.hidden = true;
  form.id = "new-run";
  const open = h("button", { class: "primary", type: "button", "aria-expanded": "false", "aria-controls": form.id, onclick: () => {
    form.hidden = !form.hidden;
    open.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) form.querySelector("input").focus();
  } }, "New run");
  return h("div", { class: "stack" }, h("div", {}, open), form);
}

/** A name that is free: the data set's, with a number if need be. */
function free(dataset, known) {
  const plain = dataset.replace(/\.(zip|tar|gz|tgz)$/g, "").replace(/\.tar$/, "").replace(/[^\w.-]+/g, "-").replace(/^\.+/, "") || "run";
  for (let k = 1; ; k++) {
    const name = k === 1 ? plain : `${plain}-${k}`;
    if (!known.has(name)) return name;
  }
}

function newRun(about, known) {
  let named = false;
  const name = textField("Name", free(about.datasets[0], known), { required: true, maxLength: 64, pattern: "[A-Za-z0-9_\\-][A-Za-z0-9._\\-]*", autocomplete: "off", spellcheck: false, hint: "Letters, digits, dots, _ and -. It names the run's folder.", oninput: () => { named = true; } });
  const dataset = selectField("Pictures", about.datasets, about.datasets[0], { onchange: () => { if (!named) name.value = free(dataset.value, known); } });
  const explain = () => preset.say(PRESETS[preset.value]);
  const preset = selectField("Preset", about.presets, undefined, { onchange: explain });
  const length = lengthFields({ value: BUDGETS.quick, hints: {
    budget: "Measured on this machine: the best model in the time there is.",
    images: "Counted with repetitions.",
    epochs: "How often each picture is seen.",
  } });
  const size = numberField("Side in pixels", null, { min: 4, max: 512, step: 1, placeholder: "the pictures' own", hint: "Larger takes longer: twice the side, four times the work." });
  const channels = selectField("Colour", [{ value: "", label: "by the pictures" }, { value: "1", label: "grey" }, { value: "3", label: "colour" }], "");
  const seed = numberField("Seed", null, { min: 0, step: 1, placeholder: "0", hint: "The same seed, the same run." });
  const flip = checkField("Mirror half of the pictures (not for text or digits)");
  const more = h("textarea", { rows: 3, spellcheck: false, placeholder: "train.lr=3e-4\nnetwork.width=64", id: "settings" });
  const moreHint = h("div", { class: "hint", id: "settings-hint" }, "One a line, KEY=VALUE, as in the configuration of a run.");
  more.setAttribute("aria-describedby", moreHint.id);
  const moreField = h("div", { class: "field" }, h("label", { htmlFor: more.id }, "Further settings"), more, moreHint);
  moreField.control = more;
  moreField.say = (text, problem = false) => { moreHint.textContent = text || "One a line, KEY=VALUE, as in the configuration of a run."; moreHint.classList.toggle("problem", problem); more.toggleAttribute("aria-invalid", problem); };

  const fields = { name, dataset, preset, size, channels, seed, ...length.fields, set: moreField };
  const wrong = h("div", { role: "alert" });
  const send = h("button", { class: "primary" }, "Start training");

  const submit = async (event) => {
    event.preventDefault();
    show(wrong);
    for (const field of [name, dataset, channels]) field.say(field === name ? "Letters, digits, dots, _ and -. It names the run's folder." : "");
    moreField.say("");
    const long = length.read();
    if (!long) return;
    let set;
    try { set = settings(more.value); } catch (e) { moreField.say(e.message, true); more.focus(); return; }
    const request = { name: name.value.trim(), dataset: dataset.value, preset: preset.value, ...long, set };
    if (size.value !== null) request.size = size.value;
    if (channels.value) request.channels = Number(channels.value);
    if (seed.value !== null) request.seed = seed.value;
    if (flip.value) request.flip = true;
    send.disabled = true;
    send.textContent = "Starting…";
    try {
      const run = await post("/api/v1/runs", request);
      notice(`${run.id} trains.`, "good");
      location.hash = address(run.id);
    } catch (e) {
      const field = fields[e.field?.split(".")[0]];
      if (field) { field.say(e.message, true); field.control.focus(); } else show(wrong, h("p", { class: "notice bad" }, e.message));
    } finally {
      send.disabled = false;
      send.textContent = "Start training";
    }
  };
  explain();
  return h("form", { class: "panel stack new-run", onsubmit: submit, ariaLabel: "New run" },
    h("h2", {}, "New run"),
    h("div", { class: "form-grid" }, dataset, name, preset, length),
    h("details", {}, h("summary", {}, "Size, colour, seed and further settings"),
      h("div", { class: "stack" }, h("div", { class: "form-grid" }, size, channels, seed), flip, moreField)),
    wrong,
    h("div", {}, send));
}
