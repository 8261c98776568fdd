//! Sidecar tables that give pictures their captions and labels.
//!
//! The Hugging Face imagefolder convention: a `metadata.jsonl` or `metadata.csv` with a `file_name` (relative to the table),
//! a `text` and/or a `label`; a list of texts, or several rows of one picture, are several captions. Captions alone may also come as
//! `captions.txt` (`name,caption` or `name<TAB>caption` lines, as Flickr8k has them) and in COCO's `captions_*.json`.

use std::path::Path;

use serde_json::{Map, Value};

use super::coco;
use crate::DataError;

/// One row of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The picture, as the table writes it.
    pub file: String,
    /// As they are written there: empty ones and repeats too.
    pub captions: Vec<String>,
    pub label: Option<String>,
}

impl Row {
    /// Adds what another row says of the same picture.
    pub fn join(&mut self, other: Row) {
        self.captions.extend(other.captions);
        self.label = self.label.take().or(other.label);
    }
}

type Parser = fn(&str) -> Result<Vec<Row>, String>;

/// Tables by file name; the first is the one to recommend.
const TABLES: &[(&str, Parser)] = &[
    ("metadata.jsonl", json_lines),
    ("metadata.csv", |text| separated(text, b',')),
    ("metadata.tsv", |text| separated(text, b'\t')),
    ("captions.jsonl", json_lines),
    ("captions.csv", |text| separated(text, b',')),
    ("captions.tsv", |text| separated(text, b'\t')),
    ("captions.txt", caption_lines),
];

/// The columns that are understood; the first of each is the one to recommend.
const FILE: &[&str] = &["file_name", "filename", "file", "image"];
const TEXT: &[&str] = &["text", "caption", "prompt"];
const LABEL: &[&str] = &["label", "class", "category"];

/// Whether a file with this name (lower case, without folders) is such a table.
pub(super) fn is_table(name: &str) -> bool {
    parser(name).is_some()
}

fn parser(name: &str) -> Option<Parser> {
    let listed = TABLES.iter().find(|(table, _)| *table == name).map(|(_, parser)| *parser);
    listed.or_else(|| coco::split(name).map(|_| coco::rows as Parser))
}

/// Reads the table called `path` (its file name decides how).
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Row>, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let Some(parser) = parser(&name) else { return Ok(Vec::new()) };
    parser(&text(bytes)).map_err(|problem| DataError::corrupt(path, problem))
}

/// The numbers in a column of the table called `path`, for each picture that has any, as the table writes its name. A value
/// is a number or a list of them; in tables of text, numbers with blanks or semicolons between them.
pub(crate) fn numbers(path: &Path, bytes: &[u8], column: &str) -> Result<Vec<(String, Vec<f32>)>, DataError> {
    let Some(delimiter) = delimiter(path) else { return Ok(Vec::new()) };
    let text = text(bytes);
    let found = match delimiter {
        None => json_numbers(&text, column),
        Some(delimiter) => separated_numbers(&text, delimiter, column),
    };
    found.map_err(|problem| DataError::corrupt(path, problem))
}

/// What the table called `path` says of its pictures: the names of its columns, without the one that names the picture.
pub(crate) fn columns(path: &Path, bytes: &[u8]) -> Vec<String> {
    let text = text(bytes);
    let mut found: Vec<String> = match delimiter(path) {
        None => Vec::new(),
        Some(None) => {
            let rows = text.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
            rows.flat_map(|row| row.into_iter().map(|(column, _)| column)).collect()
        }
        Some(Some(delimiter)) => {
            let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
            reader.headers().into_iter().flatten().map(|header| header.trim().to_owned()).collect()
        }
    };
    found.retain(|column| !FILE.contains(&column.as_str()));
    found
}

/// What lies between the columns of the table called `path`; nothing in lines of JSON. `None` for files without columns.
fn delimiter(path: &Path) -> Option<Option<u8>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.rsplit_once('.')?.1 {
        "jsonl" => Some(None),
        "tsv" => Some(Some(b'\t')),
        "csv" => Some(Some(b',')),
        _ => None,
    }
}

fn json_numbers(text: &str, column: &str) -> Result<Vec<(String, Vec<f32>)>, String> {
    let number = |value: &Value| value.as_f64().map(|number| number as f32);
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1))?;
        let values = match &row[column] {
            Value::Null => continue,
            Value::Array(values) => values.iter().map(number).collect(),
            one => number(one).map(|number| vec![number]),
        };
        let values = values.ok_or_else(|| format!("line {}: `{column}` is no number and no list of numbers", i + 1))?;
        let file = FILE.iter().find_map(|name| row[*name].as_str()).unwrap_or_default();
        found.push((file.to_owned(), values));
    }
    Ok(found)
}

fn separated_numbers(text: &str, delimiter: u8, column: &str) -> Result<Vec<(String, Vec<f32>)>, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let place = |name: &str| headers.iter().position(|header| header.trim() == name);
    let (Some(file), Some(place)) = (FILE.iter().find_map(|name| place(name)), place(column)) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, |p| p.line());
        let cell = record.get(place).unwrap_or_default();
        let words = cell.split([' ', ';']).filter(|word| !word.is_empty());
        let values: Result<Vec<f32>, _> = words.map(str::parse).collect();
        let values = values.map_err(|_| format!("line {line}: `{column}` is `{cell}`, which is no number"))?;
        if !values.is_empty() {
            found.push((record.get(file).unwrap_or_default().trim().to_owned(), values));
        }
    }
    Ok(found)
}

/// The captions in a file beside a picture: a line each, as other trainers read such files too. Tux Paint's stamps have theirs in
/// English first, then in other languages as `de.utf8=Eine Katze.`, which would be read as words.
pub(super) fn caption_file(bytes: &[u8]) -> Vec<String> {
    let text = text(bytes);
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !is_translation(line));
    let captions: Vec<String> = lines.map(str::to_owned).collect();
    // An empty file is an empty caption.
    if captions.is_empty() { vec![String::new()] } else { captions }
}

/// Whether a line begins with a language, as `pt_BR.utf8=` or `ca@valencia.utf8=`.
fn is_translation(line: &str) -> bool {
    let language = line.split_once(".utf8=").map_or("", |(language, _)| language);
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic());
    language.len() >= 2 && language.split(['_', '@']).all(letters)
}

/// UTF-8 without its byte order mark.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned()
}

fn json_lines(text: &str) -> Result<Vec<Row>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| json_row(line).map_err(|problem| format!("line {}: {problem}", i + 1))).collect()
}

fn json_row(line: &str) -> Result<Row, String> {
    let Value::Object(object) = serde_json::from_str(line).map_err(|e| e.to_string())? else {
        return Err("expected one JSON object on each line".into());
    };
    let get = |columns: &[&str]| match columns.iter().find_map(|c| object.get(*c).map(|v| (*c, v))) {
        Some((column, value)) => scalars(value).map_err(|problem| format!("`{column}` {problem}")),
        None => Ok(Vec::new()),
    };
    let first = |columns: &[&str]| Ok::<_, String>(get(columns)?.into_iter().next());
    let file = first(FILE)?.ok_or_else(|| format!("no `{}` that says which picture is meant", FILE[0]))?;
    Ok(Row { file, captions: get(TEXT)?, label: first(LABEL)? })
}

/// A string or number, or a list of them.
fn scalars(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(s) => Ok(vec![s.clone()]),
        Value::Number(n) => Ok(vec![n.to_string()]),
        Value::Bool(b) => Ok(vec![b.to_string()]),
        Value::Array(several) => Ok(several.iter().map(scalars).collect::<Result<Vec<_>, _>>()?.concat()),
        Value::Object(_) => Err("is an object; expected text or a number".into()),
    }
}

fn separated(text: &str, delimiter: u8) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let column = |names: &[&str]| names.iter().find_map(|n| headers.iter().position(|h| h.trim() == *n));
    let (file, text, label) = (column(FILE), column(TEXT), column(LABEL));
    let file = file.ok_or_else(|| {
        let found = headers.iter().collect::<Vec<_>>().join(", ");
        format!("line 1: expected a header with `{}`, and `{}` or `{}`; found: {found}", FILE[0], TEXT[0], LABEL[0])
    })?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, |p| p.line());
        let get = |i: Option<usize>| i.and_then(|i| record.get(i)).map(str::trim).filter(|v| !v.is_empty());
        let file = get(Some(file)).ok_or_else(|| format!("line {line}: the `{}` is empty", FILE[0]))?;
        let caption = text.and_then(|i| record.get(i)).map(|text| text.trim().to_owned());
        rows.push(Row {
            file: file.into(),
            captions: caption.into_iter().collect(),
            label: get(label).map(Into::into),
        });
    }
    Ok(rows)
}

/// `name<TAB>caption` or `name,caption`; `name#2` means the third caption of the same picture.
fn caption_lines(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let delimiter = if line.contains('\t') { '\t' } else { ',' };
        let (name, caption) = line
            .split_once(delimiter)
            .ok_or_else(|| format!("line {}: expected `picture.png,caption` or a tab between the two", i + 1))?;
        let (name, caption) = (name.trim(), caption.trim().trim_matches('"').trim());
        if i == 0 && FILE.contains(&name) {
            continue;
        }
        let name = match name.rsplit_once('#') {
            Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => name,
        };
        rows.push(Row { file: name.into(), captions: vec![caption.into()], label: None });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: &str, captions: &[&str], label: Option<&str>) -> Row {
        let captions = captions.iter().map(|caption| caption.to_string()).collect();
        Row { file: file.into(), captions, label: label.map(Into::into) }
    }

    fn read(name: &str, text: &str) -> Result<Vec<Row>, String> {
        parse(name.as_ref(), text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_same_rows_from_every_format() {
        let rows = [row("a.png", &["a cat, red"], Some("3")), row("b/c.png", &["say \"hi\""], None)];
        let json = "\u{feff}{\"file_name\":\"a.png\",\"text\":\"a cat, red\",\"label\":3}\n\n\
                    {\"file_name\":\"b/c.png\",\"caption\":\"say \\\"hi\\\"\",\"label\":null,\"extra\":{}}\n";
        assert_eq!(read("metadata.jsonl", json).unwrap(), rows);
        let csv = "label,file_name,text\n3,a.png,\"a cat, red\"\n,b/c.png,\"say \"\"hi\"\"\"\n";
        assert_eq!(read("x/metadata.csv", csv).unwrap(), rows);
        let tsv = "file_name\ttext\tlabel\na.png\ta cat, red\t3\nb/c.png\t\"say \"\"hi\"\"\"\t\n";
        assert_eq!(read("metadata.tsv", tsv).unwrap(), rows);
    }

    #[test]
    fn caption_files() {
        let text = "image,caption\na.png,one , two\nb.png#1\ttab, comma\n";
        let rows = [row("a.png", &["one , two"], None), row("b.png", &["tab, comma"], None)];
        assert_eq!(read("captions.txt", text).unwrap(), rows);
        let several = "{\"file_name\":\"a.png\",\"text\":[\"one\",\"\",2],\"label\":[5,6]}\n{\"file_name\":\"b.png\",\"text\":\"\"}";
        let rows = [row("a.png", &["one", "", "2"], Some("5")), row("b.png", &[""], None)];
        assert_eq!(read("metadata.jsonl", several).unwrap(), rows);
        assert_eq!(read("metadata.csv", "file_name,text\nb.png,\n").unwrap(), rows[1..]);
    }

    #[test]
    fn files_beside_pictures_have_a_caption_a_line() {
        let read = |text: &str| caption_file(text.as_bytes());
        assert_eq!(read("\u{feff}A cat.\r\n\n  two\n"), ["A cat.", "  two"]);
        let stamp = "A paw print.\nde.utf8=Ein Pfotenabdruck.\npt_BR.utf8=x\nca@valencia.utf8=y\nson.utf8=\n";
        assert_eq!(read(stamp), ["A paw print."]);
        assert_eq!(read("the option .utf8=x\na.utf8=y\nd e.utf8=z"), ["the option .utf8=x", "a.utf8=y", "d e.utf8=z"]);
        assert_eq!((read(""), read("\n ")), (vec![String::new()], vec![String::new()]));
    }

    #[test]
    fn columns_of_numbers() {
        let read = |name: &str, text: &str| numbers(name.as_ref(), text.as_bytes(), "size");
        let expected = vec![("a.png".to_owned(), vec![0.5, -1.0]), ("b.png".to_owned(), vec![2.0])];
        let json =
            "{\"file_name\":\"a.png\",\"size\":[0.5,-1]}\n{\"file_name\":\"c.png\"}\n{\"image\":\"b.png\",\"size\":2}";
        assert_eq!(read("metadata.jsonl", json).unwrap(), expected);
        assert_eq!(read("metadata.csv", "file_name,size\na.png,0.5 -1\nc.png,\nb.png,2").unwrap(), expected);
        assert_eq!(read("captions.txt", "a.png,2").unwrap(), []);
        assert_eq!(read("metadata.csv", "file_name,text\na.png,2").unwrap(), []);
        let columns = |name: &str, text: &str| columns(name.as_ref(), text.as_bytes());
        assert_eq!(columns("metadata.jsonl", json), ["size", "size"]);
        assert_eq!(columns("metadata.csv", "file_name, size,text\na.png,2"), ["size", "text"]);
        assert_eq!(columns("captions.txt", "a.png,2"), [""; 0]);
        for (name, text, problem) in [
            ("metadata.jsonl", "{}\n{\"size\":\"big\"}", "line 2: `size` is no number"),
            ("metadata.csv", "file_name,size\na.png,big", "line 2: `size` is `big`"),
        ] {
            let message = read(name, text).unwrap_err().to_string();
            assert!(message.contains(problem) && message.contains(name), "{message}");
        }
    }

    #[test]
    fn mistakes_are_named_by_line() {
        let cases = [
            ("metadata.jsonl", "{\"file_name\":\"a\"}\n{\"text\":\"x\"}", "line 2: no `file_name`"),
            ("metadata.jsonl", "{\"file_name\":\"a\"", "line 1: EOF"),
            ("metadata.jsonl", "[1]", "line 1: expected one JSON object"),
            ("metadata.jsonl", "{\"file_name\":\"a\",\"label\":{}}", "`label` is an object"),
            ("metadata.csv", "name,text\na,b", "line 1: expected a header"),
            ("metadata.csv", "file_name,text\n,b", "line 2: the `file_name` is empty"),
            ("captions.txt", "a.png a cat", "line 1: expected `picture.png,caption`"),
        ];
        for (name, text, expected) in cases {
            let message = read(name, text).unwrap_err();
            assert!(message.contains(expected) && message.contains(name), "{message}");
        }
    }
}
