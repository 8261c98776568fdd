// Pictures in and out: files dropped or chosen, pixels, the settings that a PNG carries.

import { h } from "./dom.js";
import { texts } from "./texts.js";

/** A place to drop a picture or choose one; calls `onfile(File)`. Pasting works while the page is open, too: see `pasted`. */
export function dropZone(words, onfile, { accept = "image/*", multiple = false } = {}) {
  const input = h("input", { type: "file", accept, multiple, class: "visually-hidden", tabIndex: -1, ariaLabel: words, onchange: () => { [...input.files].forEach(onfile); input.value = ""; } });
  const button = h("button", { type: "button", onclick: () => input.click() }, "Choose a file");
  const box = h("div", { class: "drop" }, h("span", {}, words), button, input);
  for (const name of ["dragenter", "dragover"]) box.addEventListener(name, (event) => { event.preventDefault(); box.classList.add("over"); });
  box.addEventListener("dragleave", (event) => { if (!box.contains(event.relatedTarget)) box.classList.remove("over"); });
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    box.classList.remove("over");
    const files = [...event.dataTransfer.files].filter((file) => file.type.startsWith("image/"));
    (multiple ? files : files.slice(0, 1)).forEach(onfile);
  });
  return box;
}

/** Calls `onfile` for pictures that are pasted, until the returned function is called. */
export function pasted(onfile) {
  const paste = (event) => [...(event.clipboardData?.files ?? [])].filter((f) => f.type.startsWith("image/")).slice(0, 1).forEach(onfile);
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}

/** A file as an upright ImageBitmap. */
export async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(`${file.name ?? "This file"} is no picture that the browser can read: PNG, JPEG, WebP and GIF are.`);
  }
}

/** A picture on a canvas, its longer side at most `longest` pixels, transparency on white. */
export function reduced(bitmap, longest) {
  const factor = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = h("canvas", { width: Math.max(1, Math.round(bitmap.width * factor)), height: Math.max(1, Math.round(bitmap.height * factor)) });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A file as a `data:` address. */
export const dataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/**
 * The settings that a picture carries: `facts`, what undiffuse wrote, or `parameters`, the text of AUTOMATIC1111's web interface and its kin; null where
 * there are none.
 */
export async function settingsOf(file) {
  const found = await texts(file);
  try {
    const facts = JSON.parse(found.get("undiffuse"));
    if (facts && typeof facts === "object") return { facts };
  } catch { /* none, or none of ours */ }
  // Cameras leave comments, too.
  const parameters = found.get("parameters") ?? [found.get("UserComment")].find((text) => /\bSteps: /.test(text));
  return parameters ? { parameters } : null;
}

/** Lets the browser save something under a name. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
