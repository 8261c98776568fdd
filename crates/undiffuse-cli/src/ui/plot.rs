//! Curves in braille dots, with an axis of round numbers.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::widgets::canvas::{Canvas, Line as Segment, Points};

/// A curve is drawn on a logarithmic axis when its values differ by more than this factor.
const LOG_FROM: f64 = 5.0;
/// Columns of the axis' numbers.
const LABELS: u16 = 6;

/// What to draw; any part may be empty.
#[derive(Default)]
pub struct Plot {
    /// Faint dots behind the line.
    pub dots: Vec<(f64, f64)>,
    /// The curve itself.
    pub line: Vec<(f64, f64)>,
    /// Few single points in front of everything.
    pub marks: Vec<(f64, f64)>,
    /// The colour of the line.
    pub color: Color,
    /// Whether the axis begins at zero.
    pub from_zero: bool,
}

/// The colour of faint things.
pub const FAINT: Color = Color::DarkGray;
/// The colour of the validation loss.
pub const MARK: Color = Color::Yellow;

/// A vertical axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// The axis that holds all of `values` with a little room.
    fn around(values: impl Iterator<Item = f64>, from_zero: bool) -> Option<Axis> {
        let (low, high) = values.filter(|v| v.is_finite()).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return None;
        }
        let log = !from_zero && low > 0.0 && high / low > LOG_FROM;
        let mut axis = Axis { low, high, log };
        let (a, b) = (axis.map(low), axis.map(high));
        let room = if b > a { (b - a) * 0.05 } else { (a.abs() * 0.1).max(1e-9) };
        (axis.low, axis.high) = (axis.unmap(a - room), axis.unmap(b + room));
        if from_zero {
            axis.low = 0.0;
        }
        Some(axis)
    }

    fn map(&self, v: f64) -> f64 {
        if self.log { v.ln() } else { v }
    }

    fn unmap(&self, v: f64) -> f64 {
        if self.log { v.exp() } else { v }
    }

    /// Where `v` lies between the ends, 0 to 1.
    fn position(&self, v: f64) -> f64 {
        (self.map(v) - self.map(self.low)) / (self.map(self.high) - self.map(self.low))
    }

    /// At most `most` round numbers inside, with their texts, rising.
    fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        // Mantissas from dense to sparse; powers of ten that are further and further apart.
        const DENSITIES: [&[i64]; 3] = [&[1, 2, 5], &[1, 3], &[1]];
        let (low, high) = (self.low, self.high);
        let candidates = |densest: usize| -> Vec<(f64, String)> {
            if self.log {
                let (first, last) = (low.log10().floor() as i64, high.log10().floor() as i64);
                let every = 1 + densest.saturating_sub(2) as i64;
                let mantissas = DENSITIES[densest.min(2)];
                let powers = (first..=last).filter(|k| k % every == 0);
                powers.flat_map(|k| mantissas.iter().map(move |&m| tick(m, k))).collect()
            } else {
                let step = densest as i64;
                let unit = ((high - low) / most.max(1) as f64).log10().floor() as i64;
                let (m, k) = ([1, 2, 5][step as usize % 3], unit + step / 3);
                let size = tick(m, k).0;
                let (first, last) = ((low / size).ceil() as i64, (high / size).floor() as i64);
                (first..=last.min(first + 100)).map(|n| tick(n * m, k)).collect()
            }
        };
        let inside = |&(v, _): &(f64, String)| v >= low && v <= high;
        (0..24)
            .map(|d| candidates(d).into_iter().filter(inside).collect::<Vec<_>>())
            .find(|t| t.len() <= most)
            .unwrap_or_default()
    }
}

/// `m · 10^k` and its shortest text.
fn tick(m: i64, k: i64) -> (f64, String) {
    let v: f64 = format!("{m}e{k}").parse().unwrap_or(0.0);
    let text = if v == 0.0 || (1e-3..1e5).contains(&v.abs()) { v.to_string() } else { format!("{v:e}") };
    (v, text)
}

impl Plot {
    /// Draws into `area`: numbers at the left, dots in the rest.
    pub fn draw(&self, frame: &mut Frame, area: Rect) {
        // Single steps are noisy: the axis follows the curve and the marks, and the dots that do not fit are left out.
        let values = self.line.iter().chain(&self.marks).map(|p| p.1);
        let (Some(axis), true) = (Axis::around(values, self.from_zero), area.width > LABELS + 2 && area.height > 0)
        else {
            return;
        };
        let [labels, inner] = Layout::horizontal([Constraint::Length(LABELS), Constraint::Min(1)]).areas(area);
        for (v, text) in axis.ticks((area.height as usize).div_ceil(3)) {
            let row = ((1.0 - axis.position(v)) * f64::from(area.height)) as u16;
            let at = Rect { y: area.y + row.min(area.height - 1), height: 1, ..labels };
            let text = Line::styled(format!("{text:>5}"), Style::new().fg(FAINT));
            frame.render_widget(Paragraph::new(text), at);
        }
        let xs = self.line.iter().chain(&self.marks).map(|p| p.0);
        let (first, last) = xs.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
        let last = if last > first { last } else { first + 1.0 };
        let place = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().filter(|p| !axis.log || p.1 > 0.0).map(|&(x, y)| (x, axis.position(y))).collect()
        };
        let (dots, line, marks) = (place(&self.dots), place(&self.line), place(&self.marks));
        let canvas =
            Canvas::default().marker(Marker::Braille).x_bounds([first, last]).y_bounds([0.0, 1.0]).paint(|c| {
                c.draw(&Points { coords: &dots, color: FAINT });
                c.layer();
                for pair in line.windows(2) {
                    c.draw(&Segment { x1: pair[0].0, y1: pair[0].1, x2: pair[1].0, y2: pair[1].1, color: self.color });
                }
                if let [only] = line[..] {
                    c.draw(&Points { coords: &[only], color: self.color });
                }
                for &(x, y) in &marks {
                    c.print(x, y, Span::styled("◆", Style::new().fg(MARK)));
                }
            });
        frame.render_widget(canvas, inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64, log: bool, most: usize) -> Vec<String> {
        Axis { low, high, log }.ticks(most).into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(texts(0.0, 1.05, false, 4), ["0", "0.5", "1"]);
        assert_eq!(texts(0.11, 0.19, false, 5), ["0.12", "0.14", "0.16", "0.18"]);
        assert_eq!(texts(0.0, 3.1e-4, false, 4), ["0", "1e-4", "2e-4", "3e-4"]);
        assert_eq!(texts(0.04, 1.2, true, 6), ["0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(texts(0.04, 1.2, true, 3), ["0.1", "0.3", "1"]);
        assert_eq!(texts(1e-6, 1e6, true, 4), ["1e-4", "1", "10000"]);
    }

    #[test]
    fn the_axis_is_logarithmic_only_for_positive_values_that_span_factors() {
        let log = |values: &[f64], zero| Axis::around(values.iter().copied(), zero).unwrap().log;
        assert!(log(&[0.1, 1.0], false));
        assert!(!log(&[0.5, 1.0], false));
        assert!(!log(&[-0.1, 1.0], false));
        assert!(!log(&[0.1, 1.0], true));
        assert_eq!(Axis::around([f64::NAN].into_iter(), false), None);
    }

    #[test]
    fn the_axis_holds_its_values() {
        for values in [[0.1, 3.0], [2.0, 2.0], [0.0, 0.0], [-1.0, 5.0]] {
            let axis = Axis::around(values.into_iter(), false).unwrap();
            assert!(values.iter().all(|&v| (0.0..=1.0).contains(&axis.position(v))), "{axis:?}");
        }
    }
}
