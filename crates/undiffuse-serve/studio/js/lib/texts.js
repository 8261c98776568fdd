// The words that a picture carries: texts of a PNG, the user comment in the EXIF data of a JPEG, a WebP or a PNG.

const latin1 = (part) => Array.from(part, (b) => String.fromCharCode(b)).join("");
const starts = (bytes, at, text) => latin1(bytes.subarray(at, at + text.length)) === text;

/** The chunks of a PNG: kind and data. */
function* chunks(bytes, view) {
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    yield [latin1(bytes.subarray(at + 4, at + 8)), bytes.subarray(at + 8, at + 8 + length)];
    at += 12 + length;
  }
}

/** A text chunk as keyword and text; compressed ones are passed over. */
function textOf(kind, data) {
  const end = data.indexOf(0);
  if (end < 0) return null;
  const key = latin1(data.subarray(0, end));
  let text = data.subarray(end + 1);
  if (kind === "tEXt") return [key, latin1(text)];
  // Compression flag and method, then language tag and translated keyword, each ended by a zero.
  if (text[0] !== 0) return null;
  text = text.subarray(2);
  for (let k = 0; k < 2; k++) text = text.subarray(text.indexOf(0) + 1);
  return [key, new TextDecoder().decode(text)];
}

/** Where the EXIF data of a file are, a TIFF file. */
function exif(bytes, view) {
  if (starts(bytes, 0, "\x89PNG")) {
    for (const [kind, data] of chunks(bytes, view)) if (kind === "eXIf") return data;
  }
  if (starts(bytes, 0, "\xff\xd8")) {
    for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; at += 2 + view.getUint16(at + 2)) {
      if (bytes[at + 1] === 0xe1 && starts(bytes, at + 4, "Exif\0\0")) return bytes.subarray(at + 10, at + 2 + view.getUint16(at + 2));
    }
  }
  if (starts(bytes, 0, "RIFF") && starts(bytes, 8, "WEBP")) {
    for (let at = 12; at + 8 <= bytes.length;) {
      const length = view.getUint32(at + 4, true);
      const data = bytes.subarray(at + 8, at + 8 + length);
      if (starts(bytes, at, "EXIF")) return starts(data, 0, "Exif\0\0") ? data.subarray(6) : data;
      at += 8 + length + (length % 2);
    }
  }
  return null;
}

/** UTF-16 in the byte order that makes more of it ASCII, the file's own where both do. */
function utf16(bytes, little) {
  const own = new TextDecoder(little ? "utf-16le" : "utf-16be").decode(bytes);
  const other = new TextDecoder(little ? "utf-16be" : "utf-16le").decode(bytes);
  const ascii = (text) => text.replace(/[^\x01-\x7f]/g, "").length;
  return ascii(other) > ascii(own) ? other : own;
}

/** The user comment in EXIF data. */
function comment(tiff) {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const little = starts(tiff, 0, "II");
  const entry = (directory, tag) => {
    const at = Array.from({ length: view.getUint16(directory, little) }, (_, k) => directory + 2 + 12 * k).find((at) => view.getUint16(at, little) === tag);
    return at === undefined ? null : { length: view.getUint32(at + 4, little), value: view.getUint32(at + 8, little) };
  };
  const photographs = entry(view.getUint32(4, little), 0x8769);
  const found = photographs && entry(photographs.value, 0x9286);
  if (!found || found.length < 8) return null;
  const words = tiff.subarray(found.value + 8, found.value + found.length);
  const text = starts(tiff, found.value, "UNICODE\0") ? utf16(words, little) : new TextDecoder().decode(words);
  return text.replace(/[\0 ]+$/, "");
}

/** The words in a file by what they are called there: a PNG's texts by their keywords, a user comment as `UserComment`. */
export async function texts(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  const found = new Map();
  if (starts(bytes, 0, "\x89PNG\r\n\x1a\n")) {
    for (const [kind, data] of chunks(bytes, view)) {
      const [key, text] = (kind === "tEXt" || kind === "iTXt") && textOf(kind, data) || [];
      if (key !== undefined && !found.has(key)) found.set(key, text);
    }
  }
  try {
    const data = exif(bytes, view);
    const words = data && comment(data);
    if (words) found.set("UserComment", words);
  } catch (e) {
    if (!(e instanceof RangeError)) throw e; // data that point out of the file
  }
  return found;
}
