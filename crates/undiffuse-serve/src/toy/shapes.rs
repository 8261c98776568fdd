//! Clouds of points to diffuse: each shape is a function from a share of the way along it to a point.

use std::f64::consts::{PI, TAU};

use undiffuse::math::noise;

use super::Point;

/// A shape by name.
pub struct Shape {
    /// Its word in requests.
    pub tag: &'static str,
    /// Point `k` of `n`.
    point: fn(k: usize, n: usize) -> Point,
}

/// Every shape.
pub const SHAPES: &[Shape] = &[
    Shape { tag: "two-moons", point: two_moons },
    Shape { tag: "spiral", point: spiral },
    Shape { tag: "rings", point: rings },
    Shape { tag: "grid", point: grid },
    Shape { tag: "checkerboard", point: checkerboard },
    Shape { tag: "heart", point: heart },
    Shape { tag: "letters", point: letters },
];

impl Shape {
    /// `n` points, moved and scaled to a mean of 0 and a mean square of 1 in each direction on average, which is what
    /// schedules take data to be.
    pub fn points(&self, n: usize) -> Vec<Point> {
        standardised((0..n).map(|k| (self.point)(k, n)).collect())
    }
}

/// The shape of this name.
pub fn find(tag: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.tag == tag)
}

fn standardised(points: Vec<Point>) -> Vec<Point> {
    let n = points.len().max(1) as f64;
    let mean = [0, 1].map(|i| points.iter().map(|p| p[i]).sum::<f64>() / n);
    let centred: Vec<Point> = points.iter().map(|p| [p[0] - mean[0], p[1] - mean[1]]).collect();
    let square = centred.iter().map(|p| p[0] * p[0] + p[1] * p[1]).sum::<f64>() / (2.0 * n);
    let scale = if square > 0.0 { square.sqrt().recip() } else { 1.0 };
    centred.into_iter().map(|p| p.map(|v| v * scale)).collect()
}

/// The middle of interval `k` of `n`, in (0, 1).
fn share(k: usize, n: usize) -> f64 {
    (k as f64 + 0.5) / n as f64
}

fn polar(radius: f64, angle: f64) -> Point {
    [radius * angle.cos(), radius * angle.sin()]
}

/// Half circles that reach into each other, the points taking turns.
fn two_moons(k: usize, n: usize) -> Point {
    let [x, y] = polar(1.0, PI * share(k / 2, n.div_ceil(2)));
    if k.is_multiple_of(2) { [x, y] } else { [1.0 - x, 0.5 - y] }
}

/// Two turns of Archimedes' spiral, evenly spaced along it: its length grows with the square of the angle.
fn spiral(k: usize, n: usize) -> Point {
    let angle = TAU * 2.25 * (0.02 + 0.98 * share(k, n)).sqrt();
    polar(angle, angle)
}

/// Circles of radius 1, 2 and 3, evenly spaced along all of them.
fn rings(k: usize, n: usize) -> Point {
    let along = 6.0 * share(k, n);
    let (radius, from) = if along < 1.0 {
        (1.0, 0.0)
    } else if along < 3.0 {
        (2.0, 1.0)
    } else {
        (3.0, 3.0)
    };
    polar(radius, TAU * (along - from) / radius)
}

/// Five by five places.
fn grid(k: usize, _: usize) -> Point {
    [(k % 5) as f64, (k / 5 % 5) as f64]
}

/// The dark squares of four by four, the points strewn evenly.
fn checkerboard(k: usize, _: usize) -> Point {
    let (square, at) = (k % 8, |stream| noise::uniform(0, stream, k as u64 / 8));
    let (row, column) = (square / 2, square % 2 * 2 + square / 2 % 2);
    [column as f64 + at(2 * square as u64), row as f64 + at(2 * square as u64 + 1)]
}

fn heart(k: usize, n: usize) -> Point {
    let t = TAU * share(k, n);
    [16.0 * t.sin().powi(3), 13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos()]
}

/// The word "ink", evenly along its strokes.
fn letters(k: usize, n: usize) -> Point {
    const STROKES: &[&[Point]] = &[
        &[[0.0, 0.0], [0.0, 0.62]],
        &[[0.0, 0.86], [0.0, 0.92]],
        &[[0.38, 0.0], [0.38, 0.62]],
        &[[0.38, 0.4], [0.46, 0.54], [0.58, 0.62], [0.7, 0.58], [0.76, 0.44], [0.76, 0.0]],
        &[[1.14, 0.0], [1.14, 0.96]],
        &[[1.54, 0.62], [1.14, 0.26]],
        &[[1.28, 0.38], [1.58, 0.0]],
    ];
    let pieces = || STROKES.iter().flat_map(|stroke| stroke.windows(2).map(|ends| (ends[0], ends[1])));
    let length = |(a, b): (Point, Point)| (b[0] - a[0]).hypot(b[1] - a[1]);
    let mut left = share(k, n) * pieces().map(length).sum::<f64>();
    for (a, b) in pieces() {
        let here = length((a, b));
        if left <= here {
            return [a[0] + (b[0] - a[0]) * left / here, a[1] + (b[1] - a[1]) * left / here];
        }
        left -= here;
    }
    STROKES[0][0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_centred_of_unit_variance_and_not_one_point() {
        for shape in SHAPES {
            for n in [1, 2, 7, 100, 500] {
                let points = shape.points(n);
                assert_eq!(points.len(), n);
                let mean = |f: &dyn Fn(&Point) -> f64| points.iter().map(f).sum::<f64>() / n as f64;
                assert!(mean(&|p| p[0]).abs() < 1e-9 && mean(&|p| p[1]).abs() < 1e-9, "{}", shape.tag);
                let square = mean(&|p| p[0] * p[0] + p[1] * p[1]);
                assert!(n == 1 || (square - 2.0).abs() < 1e-9, "{}: {square} of {n}", shape.tag);
                assert!(points.iter().flatten().all(|v| v.abs() < 4.0), "{}", shape.tag);
            }
        }
    }

    /// A quarter of the plane has a quarter of a checkerboard, and light squares have nothing.
    #[test]
    fn the_checkerboard_has_light_squares() {
        for k in 0..500 {
            let [x, y] = checkerboard(k, 500);
            assert_eq!((x.floor() + y.floor()) as usize % 2, 0, "{x} {y}");
        }
    }
}
