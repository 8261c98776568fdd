// The service's API: every refusal is a Problem, thrown.

import { h, show } from "./dom.js";

/** What the service said no with: `message` says what to do, `field` which part of the request is meant. */
export class Problem extends Error {
  constructor(body, status) {
    super(body?.detail ?? `The service answered ${status}.`);
    Object.assign(this, { status, code: body?.code, field: body?.field, body });
  }
}

async function ask(method, path, body, signal) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Problem({ detail: "The service does not answer. Is `undiffuse serve` still running?" }, 0);
  }
  if (answer.status === 401) {
    await signIn();
    return ask(method, path, body, signal);
  }
  if (!answer.ok) throw new Problem(await answer.json().catch(() => null), answer.status);
  return answer;
}

const parsed = async (answer) => (answer.status === 204 ? null : answer.json());

export const get = async (path, signal) => parsed(await ask("GET", path, undefined, signal));
export const post = async (path, body = {}, signal) => parsed(await ask("POST", path, body, signal));
export const remove = async (path, signal) => parsed(await ask("DELETE", path, undefined, signal));
export const text = async (path, signal) => (await ask("GET", path, undefined, signal)).text();
export const bytes = async (path, signal) => (await ask("GET", path, undefined, signal)).arrayBuffer();

/**
 * Listens to server-sent events: `handlers` by event name, each given the parsed data. Returns what stops listening. A lost
 * connection is taken up again by the browser; the service then tells the state so far again.
 */
export function listen(path, handlers) {
  const source = new EventSource(path);
  for (const [name, handler] of Object.entries(handlers)) {
    if (name !== "lost") source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
  source.onerror = () => handlers.lost?.(source.readyState === EventSource.CLOSED);
  return () => source.close();
}

const FINAL = ["done", "failed", "cancelled"];

/**
 * Submits a job and follows it: resolves to the job when it has ended. `on` may hold state, progress, frame, image and lost. When `signal` aborts, the job is
 * cancelled.
 */
export async function run(request, on = {}, signal) {
  // Not given the signal: a job that was taken in must be known, to be cancelled.
  const job = await post("/api/v1/jobs", request);
  on.state?.(job);
  return new Promise((resolve, reject) => {
    const cancel = () => post(`/api/v1/jobs/${job.id}/cancel`).catch(() => {});
    const ended = (job) => {
      stop();
      signal?.removeEventListener("abort", cancel);
      if (job.state === "failed") reject(new Problem(job.error, job.error?.status ?? 500));
      else resolve(job);
    };
    const failed = (e) => {
      stop();
      signal?.removeEventListener("abort", cancel);
      reject(e);
    };
    const stop = listen(`/api/v1/jobs/${job.id}/events`, {
      ...on,
      state: (job) => { on.state?.(job); if (FINAL.includes(job.state)) ended(job); },
      // The browser tries again by itself unless it was told that there is nothing any more.
      lost: (closed) => {
        on.lost?.(closed);
        if (closed) get(`/api/v1/jobs/${job.id}`).then((job) => (FINAL.includes(job.state) ? ended(job) : failed(new Problem({ detail: "The connection to the job was lost." }, 0))), failed);
      },
    });
    if (signal?.aborted) cancel();
    else signal?.addEventListener("abort", cancel, { once: true });
  });
}

let signingIn = null;

/** Asks for the token; one dialog, however many requests wait for it. */
export function signIn() {
  signingIn ??= new Promise((resolve) => {
    const dialog = document.getElementById("sign-in");
    const input = h("input", { type: "password", id: "token", required: true, autocomplete: "current-password" });
    const problem = h("p", { class: "hint problem", role: "alert" });
    const form = h("form", { class: "stack", onsubmit: async (event) => {
      event.preventDefault();
      if (await open(input.value)) { dialog.close(); signingIn = null; resolve(); }
      else { problem.textContent = "That is not the token. `undiffuse serve` was started with it, or printed it."; input.select(); }
    } },
      h("h2", { id: "sign-in-title" }, "This service wants a token"),
      h("div", { class: "field" }, h("label", { htmlFor: "token" }, "Token"), input, problem),
      h("div", { class: "row" }, h("button", { class: "primary" }, "Sign in")));
    show(dialog, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.showModal();
  });
  return signingIn;
}

async function open(token) {
  const answer = await fetch("/api/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) });
  return answer.ok;
}

/** A token in the address (`#token=…`, as `undiffuse serve` prints it) signs in and leaves the address. */
export async function tokenFromAddress() {
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", "#/ink");
    await open(decodeURIComponent(token));
  }
}

/** Ends the session and starts over, with the question for the token. */
export async function signOut() {
  await remove("/api/session");
  location.reload();
}

let facts = {};

/** Answers that do not change while the page is open, asked for once: about, parts. */
export function constant(name) {
  facts[name] ??= get(`/api/v1/${name}`).catch((e) => { delete facts[name]; throw e; });
  return facts[name];
}

/** The models there are. */
export const models = async (signal) => (await get("/api/v1/models", signal)).models;

/** The LoRA files that prompts can name. */
export const loras = async (signal) => (await get("/api/v1/loras", signal)).loras;
