// Configurations as flat tables, enough to say in what two runs differ.

/** TOML as `undiffuse` writes it → { "train.lr": "0.002" }: sections, keys, values over one or more lines. */
export function flat(toml) {
  const all = {};
  let section = "", key = null, value = "";
  for (const raw of toml.split("\n")) {
    const line = raw.trim();
    if (key === null) {
      if (!line || line.startsWith("#")) continue;
      const head = /^\[([^\]]+)\]$/.exec(line);
      if (head) { section = `${head[1]}.`; continue; }
      const at = line.indexOf("=");
      if (at < 0) continue;
      [key, value] = [section + line.slice(0, at).trim(), line.slice(at + 1).trim()];
    } else value += ` ${line}`;
    // A list goes on until its bracket closes.
    if (value.startsWith("[") && !value.endsWith("]")) continue;
    all[key] = value.replace(/\[ /, "[").replace(/, \]$/, "]").replace(/^"(.*)"$/, "$1");
    key = null;
  }
  return all;
}

/** The settings in which two configurations differ: `{ key, a, b }`; what one lacks is undefined. */
export function differences(a, b) {
  const [one, two] = [flat(a), flat(b)];
  return [...new Set([...Object.keys(one), ...Object.keys(two)])].filter((key) => one[key] !== two[key]).map((key) => ({ key, a: one[key], b: two[key] }));
}

/** Settings that change what a loss of a given size means. */
const MEANING = /^(noise\.|data\.(path|size|channels|background)|version)/;

/** Whether two runs with these differences have losses of the same meaning. */
export const sameLoss = (all) => !all.some(({ key }) => MEANING.test(key));
