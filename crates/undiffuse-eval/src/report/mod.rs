//! What an evaluation found: a table, `report.json`, and `report.html`, one file that opens anywhere.

mod compare;
mod html;

use serde::{Deserialize, Serialize};
use undiffuse_data::Image;
use undiffuse_data::names::last_part;
use undiffuse_metrics::Figure;

pub use compare::{Comparison, Line, NotComparable, compare};
pub use html::html;

use crate::audit::{Audit, Share};
use crate::classes::Class;
use crate::protocol::Protocol;

/// Version of `report.json`.
pub const FORMAT: u32 = 1;

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Program and version.
    pub program: String,
    /// What was judged.
    pub subject: SubjectFacts,
    /// Name of the data: where they lay is nobody's business.
    #[serde(deserialize_with = "data_alone")]
    pub data: String,
    /// Fingerprint of the protocol.
    pub fingerprint: String,
    /// How the figures were made.
    pub protocol: Protocol,
    /// The figures.
    pub figures: Vec<Figure>,
    /// The classes that the pictures show, where the data has classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<Class>>,
    /// Copies of training pictures, where these are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// How fast pictures were made, when any had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    /// Largest resident memory of the process, in bytes, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// What a reader should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Reads a `report.json`.
///
/// # Errors
/// It is none, or one of another [`FORMAT`]; in words that follow "cannot be read: ".
pub fn read(text: &str) -> Result<Report, String> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    match serde_json::from_str(text) {
        Ok(Version { format: FORMAT }) => serde_json::from_str(text).map_err(|e| e.to_string()),
        Ok(Version { format }) => Err(format!("it has format {format}, and this program reads {FORMAT}")),
        Err(e) => Err(format!("it is no report of `undiffuse eval`: {e}")),
    }
}

/// The name at the end of a path: reports once held the whole of it.
fn data_alone<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    String::deserialize(reader).map(|path| last_part(&path).to_owned())
}

/// Likewise; the run's, where it is the model inside one.
fn subject_alone<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    let path = String::deserialize(reader)?;
    let bare = path.trim_end_matches('/');
    Ok(last_part(bare.strip_suffix("/model").unwrap_or(bare)).to_owned())
}

/// What was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectFacts {
    /// Its name.
    #[serde(deserialize_with = "subject_alone")]
    pub name: String,
    /// `model` or `pictures`.
    pub kind: String,
    /// SHA-256 of the model's folder, or of the pictures.
    pub fingerprint: String,
}

/// How fast pictures were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Pictures a second, after loading.
    pub images_per_second: f64,
    /// How many were made in this evaluation.
    pub images: usize,
    /// On which device.
    pub device: String,
    /// By how many CPU threads.
    pub threads: usize,
}

/// A picture of the report.
#[derive(Clone, Debug)]
pub struct Illustration {
    /// Its heading.
    pub title: String,
    /// What is to be seen.
    pub caption: String,
    /// The picture.
    pub image: Image,
    /// Whether its pixels are to stay square when enlarged.
    pub pixels: bool,
}

/// A number with its interval, as tables show it: `3.21` and `2.98 – 3.45`.
pub fn shown(figure: &Figure) -> (String, String) {
    let width = figure.interval.map_or(0.0, |[low, high]| high - low);
    // Two digits of the interval's width; digits beyond it say nothing.
    let digits = |width: f64| (1.0 - width.abs().log10().floor()).clamp(0.0, 8.0) as usize;
    let places = if width > 0.0 { digits(width) } else { digits(figure.value / 100.0).min(4) };
    let interval = figure.interval.map_or_else(String::new, |[low, high]| format!("{low:.places$} – {high:.places$}"));
    (format!("{:.places$}", figure.value), interval)
}

/// What the audit found, in a sentence or two.
pub fn verdict(audit: &Audit) -> String {
    let percent = |share: f64| match 100.0 * share {
        small if small < 0.1 => format!("{small:.2} %"),
        large => format!("{large:.1} %"),
    };
    let Share { count, of, share, interval } = audit.copies;
    let found = match count {
        0 => format!("None of {of} pictures is a copy of a training picture (at most {} are)", percent(interval[1])),
        _ => format!(
            "{count} of {of} pictures are copies of training pictures: {} ({} to {})",
            percent(share),
            percent(interval[0]),
            percent(interval[1])
        ),
    };
    let real =
        if audit.left_out { "training pictures, each left out in turn," } else { "real pictures that it has not seen" };
    let near: Vec<String> = audit.tests.iter().map(|test| format!("{:.1} by {}", test.z, test.space.name())).collect();
    let near = format!(
        "nearness to training pictures beside the real ones', z: {} (below −3: nearer than real ones; blur does that as well)",
        near.join(", ")
    );
    format!(
        "{found}. Of {} {real} the same test takes {} for copies; {near}.",
        audit.false_alarms.of, audit.false_alarms.count
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse_metrics::Better;

    #[test]
    fn as_many_digits_as_the_interval_bears() {
        let figure = |value, interval| Figure {
            tag: "x".into(),
            name: "x".into(),
            value,
            interval,
            better: Better::Lower,
            note: None,
        };
        assert_eq!(shown(&figure(12.3456, Some([12.1, 12.6]))), ("12.35".into(), "12.10 – 12.60".into()));
        assert_eq!(shown(&figure(0.123456, Some([0.1, 0.14]))), ("0.123".into(), "0.100 – 0.140".into()));
        assert_eq!(shown(&figure(512.3, Some([400.0, 600.0]))).0, "512");
        assert_eq!(shown(&figure(0.5, None)), ("0.5000".into(), String::new()));
        assert_eq!(shown(&figure(0.0, Some([0.0, 0.0]))).0, "0.0000");
    }
}
