//! Two reports side by side, if their protocols agree.

use undiffuse_metrics::{Better, Figure};

use super::Report;

/// Reports whose figures do not mean the same.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the reports were made by different protocols, so their figures cannot be compared:{}", listed(.differences))]
pub struct NotComparable {
    /// The parts that differ: path, in the first, in the second.
    pub differences: Vec<(String, String, String)>,
}

fn listed(differences: &[(String, String, String)]) -> String {
    differences.iter().map(|(path, a, b)| format!("\n  {path}: {a} | {b}")).collect()
}

/// Two reports side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison<'a> {
    /// The figures that both have.
    pub lines: Vec<Line<'a>>,
    /// Differences of protocol that were allowed.
    pub allowed: Vec<(String, String, String)>,
}

/// A figure in two reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line<'a> {
    /// The first.
    pub a: &'a Figure,
    /// The second.
    pub b: &'a Figure,
}

impl Line<'_> {
    /// Which of the two is better, `None` when their intervals meet or there are none to tell.
    pub fn winner(&self) -> Option<&'static str> {
        let ([a_low, a_high], [b_low, b_high]) = (self.a.interval?, self.b.interval?);
        let lower = if a_high < b_low {
            "a"
        } else if b_high < a_low {
            "b"
        } else {
            return None;
        };
        Some(match (self.a.better, lower) {
            (Better::Lower, lower) => lower,
            (Better::Higher, "a") => "b",
            (Better::Higher, _) => "a",
        })
    }
}

/// Puts two reports side by side. Parts of the protocol whose path is in `allow`, or lies under one that is, may differ.
///
/// # Errors
/// Any other difference.
pub fn compare<'a>(a: &'a Report, b: &'a Report, allow: &[String]) -> Result<Comparison<'a>, NotComparable> {
    let may = |path: &str| allow.iter().any(|part| path == part || path.starts_with(&format!("{part}.")));
    let differences = a.protocol.differences(&b.protocol);
    let (allowed, refused): (Vec<_>, Vec<_>) = differences.into_iter().partition(|(path, ..)| may(path));
    if !refused.is_empty() {
        return Err(NotComparable { differences: refused });
    }
    let pair = |a: &'a Figure| Some(Line { a, b: b.figures.iter().find(|b| b.tag == a.tag)? });
    Ok(Comparison { lines: a.figures.iter().filter_map(pair).collect(), allowed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{SubjectFacts, read};

    fn report(value: f64, steps: usize) -> Report {
        let mut protocol = crate::protocol::tests::example();
        protocol.generated.steps = Some(steps);
        let figure = |tag: &str, better| Figure {
            tag: tag.into(),
            name: tag.into(),
            value,
            interval: Some([value - 0.1, value + 0.1]),
            better,
            note: None,
        };
        Report {
            format: 1,
            program: "x".into(),
            subject: SubjectFacts { name: "m".into(), kind: "model".into(), fingerprint: "0".into() },
            data: "d".into(),
            fingerprint: protocol.fingerprint(),
            protocol,
            figures: vec![figure("fid", Better::Lower), figure("recall", Better::Higher)],
            classes: None,
            audit: None,
            speed: None,
            peak_memory: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn other_protocols_are_refused_by_part_unless_allowed() {
        let (a, b) = (report(1.0, 25), report(2.0, 50));
        let refused = compare(&a, &b, &[]).unwrap_err();
        assert_eq!(refused.to_string().lines().nth(1), Some("  generated.steps: 25 | 50"));
        let comparison = compare(&a, &b, &["generated".into()]).unwrap();
        assert_eq!(comparison.allowed.len(), 1);
        let winners: Vec<_> = comparison.lines.iter().map(Line::winner).collect();
        assert_eq!(winners, [Some("a"), Some("b")]);
        let near = report(1.15, 25);
        assert!(compare(&a, &near, &[]).unwrap().lines.iter().all(|line| line.winner().is_none()));
    }

    #[test]
    fn a_report_survives_its_file() {
        let a = report(1.0, 25);
        let text = serde_json::to_string(&a).unwrap();
        assert_eq!(read(&text).unwrap(), a);
        let newer = read(r#"{"format": 99}"#).unwrap_err();
        assert!(newer.contains("format 99") && !newer.contains("missing"), "{newer}");
    }
}
