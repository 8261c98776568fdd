// The frame of the studio: which page is shown, and moving between them.

import { constant, signOut, tokenFromAddress } from "./lib/api.js";
import { h, show } from "./lib/dom.js";
import * as generate from "./pages/generate.js";
import * as ink from "./pages/ink.js";
import * as report from "./pages/report.js";
import * as toy from "./pages/toy.js";
import * as train from "./pages/train.js";

/** Word in the address → its page: `title`, and `page(root, ...rest of the address)`, which may return what to do when it is left. */
const PAGES = { ink, toy, generate, train, report };

const main = document.getElementById("main");
const nav = document.getElementById("pages");
let leave = null;
let first = true;

/** A word of the address; what is no encoding stands for itself. */
const decoded = (word) => { try { return decodeURIComponent(word); } catch { return word; } };

function go() {
  const [word, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const name = Object.hasOwn(PAGES, word) ? word : "ink";
  leave?.();
  const page = PAGES[name];
  document.title = `${page.title} · undiffuse`;
  show(nav, Object.entries(PAGES).map(([word, { title }]) => h("a", { href: `#/${word}`, ariaCurrent: word === name ? "page" : null }, title)));
  show(main);
  leave = page.page(main, ...rest) ?? null;
  // Those who cannot see the change are taken to where it is; on arrival nothing has changed yet.
  if (!first) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  first = false;
}

// The address goes on naming the page.
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });

// A picture that misses its place must not replace the page.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

// Who signed in on somebody else's machine can leave it.
const signOutButton = document.getElementById("sign-out");
signOutButton.addEventListener("click", signOut);

await tokenFromAddress();
constant("about").then((about) => { signOutButton.hidden = !about.token_required; }, () => {});
addEventListener("hashchange", go);
go();
