//! Histograms of pixel values with a curve over them.

use crate::Image;
use crate::label::{GLYPH, draw_centered};
use crate::strip::{ACCENT, FAINT, TROUGH};

const CURVE: [u8; 3] = [214, 72, 42];
const BARS: [u8; 3] = [150, 190, 235];
/// Least width of a bar in pixels, the gap after it included.
const BAR: usize = 4;
/// Room under the axis for its numbers.
const AXIS: usize = GLYPH + 6;

/// The density of `values` over `bins` equal intervals of `[-span, span]`; values outside count in the outermost.
/// The mean of the result times `2 · span` is 1.
pub fn density(values: &[f32], span: f64, bins: usize) -> Vec<f64> {
    let mut counts = vec![0usize; bins.max(1)];
    let last = counts.len() - 1;
    for &value in values {
        let share = (f64::from(value) + span) / (2.0 * span);
        // The cast takes negative numbers to 0.
        counts[((share * bins as f64) as usize).min(last)] += 1;
    }
    let area = values.len().max(1) as f64 * 2.0 * span / counts.len() as f64;
    counts.into_iter().map(|n| n as f64 / area).collect()
}

/// Bars of the [`density`] of `values` on `[-span, span]`, and `curve` as a line, in a picture of `width`×`height`.
///
/// The axis is marked at whole numbers. `top` is the density at the upper edge; higher bars are cut there.
pub fn histogram(
    (width, height): (usize, usize),
    values: &[f32],
    span: f64,
    top: f64,
    curve: impl Fn(f64) -> f64,
) -> Image {
    let mut plot = Image::filled(width, height, &[255; 3]);
    let floor = height.saturating_sub(AXIS);
    let y_of = |density: f64| floor as f64 * (1.0 - density / top);
    let column_of = |value: f64| ((value + span) / (2.0 * span) * width as f64) as usize;
    let mark = |plot: &mut Image, value: i32| {
        plot.paste(&Image::filled(1, floor, &TROUGH), column_of(f64::from(value)), 0);
        let (text, room) = (value.to_string(), 4 * GLYPH);
        let left = column_of(f64::from(value)).saturating_sub(room / 2);
        draw_centered(plot, left, floor + 5, room, &text, 1, &FAINT);
    };
    let whole = span.ceil() as i32 - 1;
    (-whole..=whole).for_each(|value| mark(&mut plot, value));
    // Fewer values make wider bars, so that chance does not draw the outline.
    let bins = ((3.0 * (values.len() as f64).cbrt()) as usize).min(width / BAR).max(1);
    for (k, bar) in density(values, span, bins).into_iter().enumerate() {
        let y = y_of(bar).clamp(0.0, floor as f64).round() as usize;
        let color = if bar > top { ACCENT } else { BARS };
        let (left, right) = (k * width / bins, (k + 1) * width / bins);
        plot.paste(&Image::filled(right - left - 1, floor - y, &color), left, y);
    }
    plot.paste(&Image::filled(width, 1, &FAINT), 0, floor);
    draw_curve(&mut plot, floor, |x| y_of(curve((x / width as f64 * 2.0 - 1.0) * span)));
    plot
}

/// A line two pixels thick through `(x, y(x))`, antialiased by the distance of each pixel's centre from it.
fn draw_curve(plot: &mut Image, floor: usize, y: impl Fn(f64) -> f64) {
    for column in 0..plot.width {
        let x = column as f64 + 0.5;
        let slope = y(x + 0.5) - y(x - 0.5);
        for row in 0..floor {
            let distance = (row as f64 + 0.5 - y(x)).abs() / slope.hypot(1.0);
            let cover = (1.5 - distance).clamp(0.0, 1.0);
            let at = (row * plot.width + column) * 3;
            for (pixel, color) in plot.pixels[at..at + 3].iter_mut().zip(CURVE) {
                *pixel = (f64::from(*pixel) * (1.0 - cover) + f64::from(color) * cover).round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_of_a_known_sample() {
        // Four bins of width 1 on [-2, 2]: one value in each of the inner two, the outliers in the outer ones.
        let found = density(&[-0.5, 0.5, 0.75, -9.0, 9.0, f32::MAX, -1.5, 1.0], 2.0, 4);
        assert_eq!(found, [2.0 / 8.0, 1.0 / 8.0, 2.0 / 8.0, 3.0 / 8.0]);
        assert_eq!(density(&[], 1.0, 3), [0.0; 3]);
    }

    #[test]
    fn bars_stand_on_the_axis_and_the_curve_lies_at_its_height() {
        let plot = histogram((80, 50), &[0.1; 1000], 2.0, 1.0, |_| 0.5);
        let floor = 50 - AXIS;
        // All values are in the bin right of the middle, whose bar is higher than the plot.
        assert_eq!(plot.pixel(42, floor - 1), ACCENT);
        assert_ne!(plot.pixel(10, floor - 1), ACCENT);
        assert_eq!(plot.pixel(3, floor / 2), CURVE);
        assert_eq!(plot.pixel(3, 3), [255; 3]);
    }
}
