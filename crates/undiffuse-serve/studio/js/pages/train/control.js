// Stopping and resuming a run.

import { post } from "../../lib/api.js";
import { h, notice, show } from "../../lib/dom.js";
import { lengthFields } from "./length.js";
import { api } from "./state.js";

/** A dialog with a form; `act()` does it and may throw, or answer false to stay open. */
function ask({ title, body, does, kind = "primary", act }) {
  const wrong = h("div", { role: "alert" });
  const yes = h("button", { class: kind }, does);
  const dialog = h("dialog", { ariaLabel: title, onclose: () => dialog.remove() },
    h("form", { class: "stack", onsubmit: async (event) => {
      event.preventDefault();
      yes.disabled = true;
      try {
        if ((await act()) !== false) dialog.close();
      } catch (e) {
        show(wrong, h("p", { class: "notice bad" }, e.message));
      }
      yes.disabled = false;
    } },
    h("h2", {}, title), body, wrong,
    h("div", { class: "row" }, yes, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))));
  // In the page, so that it goes with it.
  document.getElementById("main").append(dialog);
  dialog.showModal();
}

function stop(run, button, done) {
  ask({
    title: `Stop ${run.id}?`,
    body: h("p", {}, "It finishes the step that it is at, saves everything, and ends. Nothing is lost: resumed, it goes on to the same bits as if it had never been stopped."),
    does: "Stop and save",
    act: async () => {
      const stopping = await post(api(run.id, "/stop"));
      Object.assign(button, { disabled: true, textContent: "Saving…" });
      done(stopping);
    },
  });
}

function resume(run, done) {
  const finished = run.state === "finished";
  const length = lengthFields({ optional: !finished, value: "5m", hints: {
    budget: finished ? "How much longer it may train." : "How much longer it may train; empty: to its planned end.",
    images: "Pictures seen at its new end, those so far included.",
    epochs: "Passes over the data at its new end, those so far included.",
  } });
  ask({
    title: `Resume ${run.id}?`,
    body: h("div", { class: "stack" },
      h("p", {}, finished ? "It has reached its length. Given more, it goes on from its last state; the learning rate follows the new length." : "It goes on from its last saved state, to its planned end or to another one."),
      length),
    does: "Resume",
    act: async () => {
      const more = length.read();
      if (!more) return false;
      try {
        done(await post(api(run.id, "/resume"), more));
        notice(`${run.id} trains on.`, "good");
      } catch (e) {
        const field = length.fields[e.field];
        if (!field) throw e;
        field.say(e.message, true);
        field.control.focus();
        return false;
      }
    },
  });
}

/** What can be done with a run from here: buttons, or words on how it is done elsewhere. `done(run)` is told what became of it. */
export function control(run, allowed, done) {
  if (run.state === "training") {
    if (run.ours && allowed) return h("button", { class: "danger", type: "button", onclick: (event) => stop(run, event.currentTarget, done) }, "Stop…");
    return h("span", { class: "faint" }, "Another program trains it: q or Ctrl-C there stops and saves.");
  }
  if (allowed) return h("button", { type: "button", onclick: () => resume(run, done) }, "Resume…");
  return h("span", { class: "faint" }, "To go on: ", h("code", {}, `undiffuse train --resume ${/^[\w./-]+$/.test(run.id) ? run.id : `'${run.id}'`}`), " in its folder, or start the service with ", h("code", {}, "--allow-train"), ".");
}
