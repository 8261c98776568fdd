//! Evaluation reports: folders with a `report.json`, found by name, and two of them side by side.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use undiffuse::files;
use undiffuse_eval::Report;
use undiffuse_eval::report::{self, NotComparable};

use crate::problem::Problem;

/// The most that is read of a report, and of its page.
const REPORT_BYTES: u64 = 16 << 20;
const PAGE_BYTES: u64 = 64 << 20;

/// A figure of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ReportFigure)]
pub struct Figure {
    /// Its tag, such as `fid`.
    pub tag: String,
    /// Its name.
    pub name: String,
    /// `lower` or `higher`.
    pub better: String,
    /// Its value.
    #[serde(flatten)]
    pub measured: Measured,
}

/// The value of a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Measured {
    /// The value; `null` where it is no number.
    pub value: Option<f64>,
    /// The ends of its confidence interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// The value with as many digits as its interval bears.
    pub shown: String,
    /// The interval with as many.
    pub shown_interval: String,
    /// What the reader has to know to read it rightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A report in brief.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReportInfo {
    /// Its id: the name of its folder.
    pub id: String,
    /// What was judged.
    pub subject: String,
    /// `model` or `pictures`.
    pub kind: String,
    /// What it was compared with.
    pub data: String,
    /// How many pictures were judged.
    pub images: usize,
    /// The figures.
    pub figures: Vec<Figure>,
    /// Which protocol it was made by: reports of the same can be compared.
    pub fingerprint: String,
    /// Whether it has a page of its own.
    pub html: bool,
    /// When it was made, in seconds since 1970.
    pub updated: f64,
}

/// Evaluation reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ReportList {
    /// The newest first.
    pub reports: Vec<ReportInfo>,
    /// Those that cannot be read, such as those of older programs.
    pub unreadable: Vec<Unreadable>,
}

/// A report that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = UnreadableReport)]
pub struct Unreadable {
    /// Its id.
    pub id: String,
    /// Why.
    pub detail: String,
}

/// Two reports side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ReportComparison)]
pub struct Comparison {
    /// The figures that both have.
    pub lines: Vec<Line>,
}

/// A figure in two reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ReportLine)]
pub struct Line {
    /// Its tag.
    pub tag: String,
    /// Its name.
    pub name: String,
    /// `lower` or `higher`.
    pub better: String,
    /// In the first.
    pub a: Measured,
    /// In the second.
    pub b: Measured,
    /// Which is better, `a` or `b`; none where the intervals meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winner: Option<String>,
}

/// Why two reports cannot be compared: a problem that names what differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotComparableProblem {
    /// The problem, of the code `not_comparable`.
    #[serde(flatten)]
    pub problem: Problem,
    /// The parts of the protocols that differ.
    pub differences: Vec<Difference>,
}

/// A part of two protocols that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Difference {
    /// The part.
    pub path: String,
    /// In the first.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// Why there is no comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum CompareError {
    /// A report cannot be read.
    Problem(Box<Problem>),
    /// Their figures do not mean the same.
    NotComparable(Box<NotComparableProblem>),
}

/// The folders of reports, by id: the folder itself where it is a report, or those in it. Names that do not fit into an address
/// are left out, and those whose report is a link: a folder may be one, as its owner has put it there, what it holds may not.
fn folders(root: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten();
    let inside = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let named = |path: PathBuf| {
        let path = if path.file_name().is_some() { path } else { path.canonicalize().ok()? };
        let name = path.file_name()?.to_str()?.to_owned();
        let report = !name.starts_with('.') && name.chars().all(fits) && is_file(&path, "report.json");
        report.then_some((name, path))
    };
    std::iter::once(root.to_owned()).chain(inside).filter_map(named).collect()
}

/// The folder of a report; the id is looked up among those there are.
fn folder(root: &Path, id: &str) -> Result<PathBuf, Problem> {
    folders(root).remove(id).ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        Problem::not_found(format!("there is no report `{id}`; /api/v1/reports lists those there are"))
    })
}

fn is_file(folder: &Path, name: &str) -> bool {
    fs::symlink_metadata(folder.join(name)).is_ok_and(|facts| facts.is_file())
}

fn bounded(folder: &Path, name: &str, most: u64) -> Result<String, String> {
    let file = files::open_inside(folder, Path::new(name)).map_err(|e| e.source.to_string())?;
    let bytes = files::read_all(file, most).map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".into())
}

fn read(folder: &Path) -> Result<(Report, String), String> {
    let text = bounded(folder, "report.json", REPORT_BYTES)?;
    Ok((report::read(&text)?, text))
}

fn report(root: &Path, id: &str) -> Result<(Report, String), Problem> {
    let unreadable =
        |e| Problem::invalid("id", format!("report `{id}` cannot be read: {e}; run `undiffuse eval` again"));
    read(&folder(root, id)?).map_err(unreadable)
}

/// All reports.
pub fn list(root: &Path) -> ReportList {
    let mut all = ReportList::default();
    for (id, folder) in folders(root) {
        match read(&folder) {
            Ok((report, _)) => all.reports.push(describe(id, &folder, &report)),
            Err(detail) => all.unreadable.push(Unreadable { id, detail }),
        }
    }
    all.reports.sort_by(|a, b| b.updated.total_cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
    all
}

/// The text of a report's `report.json`, with names where older ones have paths.
///
/// # Errors
/// 404, 422 for one that cannot be read.
pub fn json(root: &Path, id: &str) -> Result<String, Problem> {
    let (report, text) = report(root, id)?;
    let written: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let paths = [(&written["data"], report.data), (&written["subject"]["name"], report.subject.name)];
    // In the text itself: numbers keep their digits.
    Ok(paths
        .into_iter()
        .fold(text, |text, (path, name)| text.replace(&path.to_string(), &serde_json::Value::from(name).to_string())))
}

/// The page of a report.
///
/// # Errors
/// 404 where there is none.
pub fn page(root: &Path, id: &str) -> Result<String, Problem> {
    let folder = folder(root, id)?;
    bounded(&folder, "report.html", PAGE_BYTES)
        .map_err(|e| Problem::not_found(format!("the page of report `{id}` cannot be had: {e}")))
}

/// Two reports side by side.
///
/// # Errors
/// 404 and 422 as for [`json`], and protocols that differ.
pub fn compare(root: &Path, a: &str, b: &str) -> Result<Comparison, CompareError> {
    let read = |id| report(root, id).map(|(report, _)| report).map_err(|e| CompareError::Problem(Box::new(e)));
    let (a, b) = (read(a)?, read(b)?);
    let comparison = report::compare(&a, &b, &[]).map_err(|e| CompareError::NotComparable(Box::new(e.into())))?;
    let line = |line: &report::Line| {
        let (a, b) = (Figure::from(line.a), Figure::from(line.b));
        let Figure { tag, name, better, measured } = a;
        Line { tag, name, better, a: measured, b: b.measured, winner: line.winner().map(str::to_owned) }
    };
    Ok(Comparison { lines: comparison.lines.iter().map(line).collect() })
}

impl<T: std::borrow::Borrow<undiffuse_metrics::Figure>> From<T> for Figure {
    fn from(figure: T) -> Self {
        let figure = figure.borrow();
        let (shown, shown_interval) = report::shown(figure);
        let measured = Measured {
            value: Some(figure.value).filter(|value| value.is_finite()),
            interval: figure.interval.filter(|ends| ends.iter().all(|end| end.is_finite())),
            shown,
            shown_interval,
            note: figure.note.clone(),
        };
        let better = match figure.better {
            undiffuse_metrics::Better::Lower => "lower",
            undiffuse_metrics::Better::Higher => "higher",
        };
        Self { tag: figure.tag.clone(), name: figure.name.clone(), better: better.into(), measured }
    }
}

impl From<NotComparable> for NotComparableProblem {
    fn from(e: NotComparable) -> Self {
        let problem = Problem::new(StatusCode::CONFLICT, "not_comparable", e.to_string());
        let differences = e.differences.into_iter().map(|(path, a, b)| Difference { path, a, b }).collect();
        Self { problem, differences }
    }
}

fn describe(id: String, folder: &Path, report: &Report) -> ReportInfo {
    let modified = fs::symlink_metadata(folder.join("report.json")).and_then(|facts| facts.modified()).ok();
    let updated = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    ReportInfo {
        id,
        subject: report.subject.name.clone(),
        kind: report.subject.kind.clone(),
        data: report.data.clone(),
        images: report.protocol.generated.images,
        figures: report.figures.iter().map(Figure::from).collect(),
        fingerprint: report.fingerprint.clone(),
        html: is_file(folder, "report.html"),
        updated: updated.as_secs_f64(),
    }
}
