//! Figures: panels of curves, points, arrows and rasters, as a paper would print them.
//!
//! ```
//! use undiffuse_data::figure::{Layer, Panel, figure};
//! let curve = (0..100).map(|i| f64::from(i) / 10.0).map(|x| (x, x.sin())).collect();
//! let panel = Panel::new("a wave", vec![Layer::line("sin", curve)]).labels("t", "height");
//! let image = figure("Figure 1", 1, (480, 360), &[panel]);
//! assert_eq!(image.width, 480);
//! ```

mod canvas;

use std::convert::Infallible;
use std::ops::Range;

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::IntoLogRange;
use plotters::series::LineSeries;
use plotters::style::{Color, RGBColor, TextStyle};

use crate::Image;
use crate::label::{GLYPH, draw_text, fit, text_width};
use crate::strip::{FAINT, INK, TROUGH};
use canvas::{Canvas, UNIT};

/// A point of a panel.
pub type Point = (f64, f64);

/// Colours that are told apart, even by colour-blind eyes \[Okabe08\]; a panel's unnamed colours are taken from here in
/// turn.
pub const COLORS: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [60, 60, 60]];

const SCALE: usize = 2;
const TEXT: f64 = UNIT * SCALE as f64;
const TITLE: usize = 4 * GLYPH;

/// Something drawn in a panel.
#[derive(Clone, Debug)]
pub enum Layer {
    /// A curve, with a name for the legend.
    Line {
        /// Its name; empty for none.
        name: String,
        /// Its points, in order.
        points: Vec<Point>,
        /// Its colour; by its place among the layers when not given.
        color: Option<[u8; 3]>,
    },
    /// A cloud of dots.
    Points {
        /// Its name; empty for none.
        name: String,
        /// Where.
        points: Vec<Point>,
        /// Their colour; by its place among the layers when not given.
        color: Option<[u8; 3]>,
        /// Radius in pixels.
        radius: u32,
    },
    /// Arrows.
    Arrows {
        /// Tail and head of each.
        arrows: Vec<(Point, Point)>,
        /// Their colour.
        color: [u8; 3],
    },
    /// Values between 0 (paper) and 1 (`color`) that fill the panel, rows from the top.
    Raster {
        /// Values in a row.
        columns: usize,
        /// The values, row by row.
        values: Vec<f64>,
        /// The colour of 1.
        color: [u8; 3],
    },
}

impl Layer {
    /// A curve in the next colour.
    pub fn line(name: &str, points: Vec<Point>) -> Self {
        Layer::Line { name: name.to_owned(), points, color: None }
    }

    /// Dots in the next colour.
    pub fn points(name: &str, points: Vec<Point>) -> Self {
        Layer::Points { name: name.to_owned(), points, color: None, radius: 2 }
    }

    /// Every point that the panel should show.
    fn extent(&self) -> Vec<Point> {
        match self {
            Layer::Line { points, .. } | Layer::Points { points, .. } => points.clone(),
            Layer::Arrows { arrows, .. } => arrows.iter().flat_map(|&(a, b)| [a, b]).collect(),
            Layer::Raster { .. } => Vec::new(),
        }
    }
}

/// One pair of axes and what is drawn on them, the first layer lowest.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// Above the panel.
    pub title: String,
    /// Right under the horizontal axis; empty for none.
    pub x_label: String,
    /// On top of the vertical axis; empty for none.
    pub y_label: String,
    /// Ends of the horizontal axis; by the layers when not given.
    pub x: Option<Range<f64>>,
    /// Ends of the vertical axis; by the layers when not given.
    pub y: Option<Range<f64>>,
    /// Logarithmic horizontal axis; values that are not positive are left out.
    pub log_x: bool,
    /// Logarithmic vertical axis; values that are not positive are left out.
    pub log_y: bool,
    /// No axes, no numbers: for pictures.
    pub bare: bool,
    /// What is drawn.
    pub layers: Vec<Layer>,
}

impl Panel {
    /// A panel with linear axes around its layers.
    pub fn new(title: &str, layers: Vec<Layer>) -> Self {
        Self { title: title.to_owned(), layers, ..Self::default() }
    }

    /// The same with names on its axes.
    pub fn labels(self, x: &str, y: &str) -> Self {
        Self { x_label: x.to_owned(), y_label: y.to_owned(), ..self }
    }

    /// The same with both axes between `low` and `high`.
    pub fn square(self, low: f64, high: f64) -> Self {
        Self { x: Some(low..high), y: Some(low..high), ..self }
    }

    fn range(&self, given: &Option<Range<f64>>, log: bool, of: fn(&Point) -> f64) -> Range<f64> {
        if let Some(range) = given {
            return range.clone();
        }
        let values = self.layers.iter().flat_map(Layer::extent).map(|p| of(&p));
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = usable.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        match (low < high, log) {
            (true, true) => low / (high / low).powf(0.04)..high * (high / low).powf(0.04),
            (true, false) => low - (high - low) * 0.04..high + (high - low) * 0.04,
            (false, true) if low == high => low / 2.0..high * 2.0,
            (false, false) if low == high => low - 1.0..high + 1.0,
            (false, true) => 0.1..1.0,
            (false, false) => 0.0..1.0,
        }
    }
}

/// Panels of `size` pixels each, `columns` in a row, under a title (empty for none).
pub fn figure(title: &str, columns: usize, size: (usize, usize), panels: &[Panel]) -> Image {
    let columns = columns.clamp(1, panels.len().max(1));
    let top = if title.is_empty() { 0 } else { TITLE };
    let mut image = Image::filled(columns * size.0, top + panels.len().div_ceil(columns).max(1) * size.1, &[255; 3]);
    let text = fit(title, image.width.saturating_sub(2 * GLYPH), SCALE);
    draw_text(&mut image, GLYPH, GLYPH, &text, SCALE, &INK);
    for (k, panel) in panels.iter().enumerate() {
        let mut picture = Image::filled(size.0, size.1, &[255; 3]);
        // Drawing on a picture in memory cannot fail; words that do not fit are cut.
        let _ = draw(&mut picture, panel);
        legend(&mut picture, panel);
        image.paste(&picture, k % columns * size.0, top + k / columns * size.1);
    }
    image
}

type Drawn = Result<(), DrawingAreaErrorKind<Infallible>>;

fn draw(image: &mut Image, panel: &Panel) -> Drawn {
    let (x, y) = (panel.range(&panel.x, panel.log_x, |p| p.0), panel.range(&panel.y, panel.log_y, |p| p.1));
    let title = fit(&panel.title, image.width.saturating_sub(2 * GLYPH), SCALE);
    draw_text(image, GLYPH, GLYPH / 2, &title, SCALE, &INK);
    let label_top = 3 * GLYPH;
    draw_text(image, GLYPH, label_top, &panel.y_label, SCALE, &FAINT);
    let area = Canvas(image).into_drawing_area();
    match (panel.log_x, panel.log_y) {
        (false, false) => chart(&area, panel, x, y),
        (true, false) => chart(&area, panel, x.log_scale(), y),
        (false, true) => chart(&area, panel, x, y.log_scale()),
        (true, true) => chart(&area, panel, x.log_scale(), y.log_scale()),
    }
}

fn chart<X, Y>(area: &DrawingArea<Canvas<'_>, plotters::coord::Shift>, panel: &Panel, x: X, y: Y) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let rgb = |c: [u8; 3]| RGBColor(c[0], c[1], c[2]);
    let style = |color| TextStyle { color: rgb(color).to_backend_color(), ..("bitmap", TEXT).into() };
    let margins = if panel.bare { (0, 0) } else { (9 * GLYPH as u32, 4 * GLYPH as u32) };
    let above = if panel.y_label.is_empty() { 3 } else { 7 } * GLYPH as u32;
    let mut chart = ChartBuilder::on(area)
        .margin_top(above)
        .margin_right(2 * GLYPH as u32)
        .margin_left(GLYPH as u32)
        .margin_bottom(GLYPH as u32)
        .y_label_area_size(margins.0)
        .x_label_area_size(margins.1 + if panel.x_label.is_empty() { 0 } else { 2 * GLYPH as u32 })
        .build_cartesian_2d(x, y)?;
    if !panel.bare {
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(rgb([255; 3])).bold_line_style(rgb(TROUGH)).axis_style(rgb(FAINT));
        mesh.label_style(style(FAINT)).axis_desc_style(style(FAINT)).x_desc(&panel.x_label);
        mesh.x_labels(5).y_labels(6).x_label_formatter(&|v| tick(*v)).y_label_formatter(&|v| tick(*v)).draw()?;
    }
    let keep =
        |p: &&Point| p.0.is_finite() && p.1.is_finite() && (!panel.log_x || p.0 > 0.0) && (!panel.log_y || p.1 > 0.0);
    for (k, layer) in panel.layers.iter().enumerate() {
        let of = |color: &Option<[u8; 3]>| rgb(color.unwrap_or(COLORS[k % COLORS.len()]));
        match layer {
            Layer::Line { points, color, .. } => {
                let color = of(color);
                let line = LineSeries::new(points.iter().filter(keep).copied(), color.stroke_width(2));
                chart.draw_series(line)?;
            }
            Layer::Points { points, color, radius, .. } => {
                let color = of(color);
                let dots = points.iter().filter(keep).map(|&p| Circle::new(p, *radius, color.mix(0.7).filled()));
                chart.draw_series(dots)?;
            }
            Layer::Arrows { arrows, color } => {
                let color = rgb(*color);
                chart.draw_series(arrows.iter().map(|&(a, b)| PathElement::new(vec![a, b], color)))?;
                chart.draw_series(arrows.iter().map(|&(a, b)| Polygon::new(head(a, b), color.filled())))?;
            }
            Layer::Raster { columns, values, color } => {
                let plot = chart.plotting_area();
                let (width, height) = plot.dim_in_pixel();
                let (left, top) = plot.get_base_pixel();
                let rows = values.len().div_ceil((*columns).max(1));
                for (i, &value) in values.iter().enumerate() {
                    let edge = |k: usize, n: usize, size: u32| (k * size as usize / n) as i32;
                    let (column, row) = (i % columns, i / columns);
                    let corner = |c, r| (left + edge(c, *columns, width), top + edge(r, rows, height));
                    let fill = rgb(*color).mix(value.clamp(0.0, 1.0)).filled();
                    // The far edge of a rectangle is also drawn.
                    let (far_x, far_y) = corner(column + 1, row + 1);
                    area.draw(&Rectangle::new([corner(column, row), (far_x - 1, far_y - 1)], fill))?;
                }
            }
        }
    }
    Ok(())
}

/// The names of layers beside their colours, in the corner of the panel where least is drawn. `plotters` would measure them
/// by a font that is not ours.
fn legend(image: &mut Image, panel: &Panel) {
    let names: Vec<(&str, [u8; 3])> = panel
        .layers
        .iter()
        .enumerate()
        .filter_map(|(k, layer)| match layer {
            Layer::Line { name, color, .. } | Layer::Points { name, color, .. } if !name.is_empty() => {
                Some((name.as_str(), color.unwrap_or(COLORS[k % COLORS.len()])))
            }
            _ => None,
        })
        .collect();
    let (key, line) = (2 * GLYPH, 3 * GLYPH);
    let width = names.iter().map(|(name, _)| text_width(name, SCALE)).max().unwrap_or(0) + key + GLYPH;
    let height = names.len() * line;
    let right = image.width.saturating_sub(width + 3 * GLYPH);
    let (above, below) =
        (if panel.y_label.is_empty() { 4 } else { 8 } * GLYPH, image.height.saturating_sub(height + 9 * GLYPH));
    let corners = [(right, above), (10 * GLYPH, above), (10 * GLYPH, below), (right, below)];
    let (left, top) = corners.into_iter().min_by_key(|&at| drawn(image, at, (width, height))).unwrap_or_default();
    for (k, (name, color)) in names.into_iter().enumerate() {
        let y = top + k * line;
        if y + line < image.height && left + key < image.width {
            image.paste(&Image::filled(key, GLYPH / 2, &color), left, y + GLYPH * 3 / 4);
            draw_text(image, left + key + GLYPH, y, name, SCALE, &INK);
        }
    }
}

/// How many pixels of a rectangle are darker than paper and grid.
fn drawn(image: &Image, (left, top): (usize, usize), (width, height): (usize, usize)) -> usize {
    let rows = top..(top + height).min(image.height);
    let dark = |x: usize, y: usize| image.pixel(x, y).iter().any(|&v| v < 160);
    rows.map(|y| (left..(left + width).min(image.width)).filter(|&x| dark(x, y)).count()).sum()
}

/// The head of an arrow, a quarter of its length.
fn head(a: Point, b: Point) -> Vec<Point> {
    let (dx, dy) = ((b.0 - a.0) / 4.0, (b.1 - a.1) / 4.0);
    vec![b, (b.0 - dx - dy / 2.0, b.1 - dy + dx / 2.0), (b.0 - dx + dy / 2.0, b.1 - dy - dx / 2.0)]
}

/// A number on an axis, short.
fn tick(v: f64) -> String {
    match v.abs() {
        size if size < 1e-12 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{v:.0e}"),
        _ => {
            let text = format!("{v:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(image: &Image, color: [u8; 3]) -> usize {
        image.pixels.chunks(3).filter(|p| **p == color).count()
    }

    #[test]
    fn layers_leave_their_colours_where_they_belong() {
        let color = Some([1, 2, 3]);
        let line = Layer::Line { name: String::new(), points: vec![(0.0, 0.0), (1.0, 0.0)], color };
        let raster = Layer::Raster { columns: 2, values: vec![1.0, 0.0, 0.0, 1.0], color: [9, 9, 9] };
        let image = figure(
            "",
            2,
            (200, 150),
            &[Panel::new("a", vec![line]), Panel { bare: true, ..Panel::new("b", vec![raster]) }],
        );
        assert_eq!((image.width, image.height), (400, 150));
        assert!(count(&image, [1, 2, 3]) > 50);
        // Half of the raster is inked: the upper left and the lower right quarter.
        let (w, h) = (200 - 3 * 8, 150 - 4 * 8);
        assert!(count(&image, [9, 9, 9]).abs_diff(w * h / 2) <= w + h, "{}", count(&image, [9, 9, 9]));
        let inked = |x, y| image.pixel(x, y) == [9, 9, 9];
        assert!(inked(200 + 20, 40) && !inked(200 + 180, 40) && inked(200 + 180, 130) && !inked(200 + 20, 130));
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let points = vec![(f64::NAN, 1.0), (0.0, f64::INFINITY), (-1.0, -1.0)];
        for (log_x, log_y) in [(false, false), (true, true), (true, false)] {
            let panel = Panel { log_x, log_y, ..Panel::new("odd", vec![Layer::line("x", points.clone())]) };
            figure("odd", 1, (120, 90), &[panel, Panel::default()]);
        }
        figure("", 3, (10, 10), &[Panel::default()]);
        figure("nothing", 1, (100, 100), &[]);
    }

    #[test]
    fn ticks_are_short() {
        let shown: Vec<_> = [0.0, 0.1 + 0.2, -2.5, 1e6, 2e-5, 100.0].map(tick).into();
        assert_eq!(shown, ["0", "0.3", "-2.5", "1e6", "2e-5", "100"]);
    }
}
