//! Scenes as pictures: plain colours on plain grey, with soft edges.

use std::ops::RangeInclusive;

use super::{Colour, Placed, Shape, Size};
use crate::Image;

/// Sides of pictures on which the shapes can be told apart.
pub const SIDES: RangeInclusive<usize> = 24..=512;

/// The colour between the objects. Mid-grey is nearly as far from every object's colour as they are from each other.
pub(super) const BACKGROUND: [u8; 3] = [128; 3];

/// Points in a row and in a column of a pixel that are looked at to find how much of it a shape covers.
const POINTS: usize = 8;

impl Colour {
    /// Red, green, blue. Any two of the eight and the background are at least 0.78 apart in \[−1, 1\]³.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Colour::Red => [225, 35, 35],
            Colour::Orange => [250, 130, 15],
            Colour::Yellow => [250, 230, 40],
            Colour::Green => [30, 160, 60],
            Colour::Blue => [40, 80, 225],
            Colour::Purple => [155, 50, 185],
            Colour::Black => [15; 3],
            Colour::White => [250; 3],
        }
    }
}

impl Size {
    /// Half of an object's width and height, in sides of the picture.
    pub(super) fn radius(self) -> f64 {
        match self {
            Size::Small => 0.115,
            Size::Large => 0.19,
        }
    }
}

impl Shape {
    /// Whether a point belongs to the shape: `u` to the right and `v` down from its middle, in radii. All fit into \[−1, 1\]² and
    /// are about as large to the eye.
    fn holds(self, u: f64, v: f64) -> bool {
        let (from_middle, reach) = (u * u + v * v, u.abs().max(v.abs()));
        match self {
            Shape::Circle => from_middle <= 1.0,
            Shape::Square => reach <= 0.88,
            Shape::Triangle => (-1.0..=0.8).contains(&v) && 1.8 * u.abs() <= v + 1.0,
            Shape::Diamond => u.abs() + v.abs() <= 1.0,
            Shape::Cross => reach <= 1.0 && u.abs().min(v.abs()) <= 0.34,
            Shape::Ring => (0.25..=1.0).contains(&from_middle),
        }
    }

    /// The share of a pixel that the shape covers: of the square of side 1 whose upper left corner is `(x, y)`, all in pixels.
    pub(super) fn cover(self, radius: f64, middle: [f64; 2], x: f64, y: f64) -> f64 {
        let at = |k: usize| (k as f64 + 0.5) / POINTS as f64;
        let inside =
            |i: usize, j: usize| self.holds((x + at(i) - middle[0]) / radius, (y + at(j) - middle[1]) / radius);
        let count = (0..POINTS * POINTS).filter(|k| inside(k % POINTS, k / POINTS)).count();
        count as f64 / (POINTS * POINTS) as f64
    }
}

/// A square picture of objects that do not overlap.
pub fn draw(objects: &[Placed], side: usize) -> Image {
    let mut image = Image::filled(side, side, &BACKGROUND);
    for Placed { object, at } in objects {
        let (radius, middle) = (object.size.radius() * side as f64, at.map(|at| at * side as f64));
        let range = |k: usize| {
            let pixel = |at: f64| at.clamp(0.0, side as f64) as usize;
            pixel((middle[k] - radius).floor())..pixel((middle[k] + radius).ceil())
        };
        for y in range(1) {
            for x in range(0) {
                let share = object.shape.cover(radius, middle, x as f64, y as f64);
                let pixel = &mut image.pixels[3 * (y * side + x)..][..3];
                for (value, colour) in pixel.iter_mut().zip(object.colour.rgb()) {
                    *value = (f64::from(*value) * (1.0 - share) + f64::from(colour) * share).round() as u8;
                }
            }
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use super::super::Object;
    use super::*;

    #[test]
    fn colours_are_well_apart() {
        let all: Vec<[u8; 3]> = Colour::ALL.iter().map(|colour| colour.rgb()).chain([BACKGROUND]).collect();
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                let squares = a.iter().zip(b).map(|(a, b)| ((f64::from(*a) - f64::from(*b)) / 127.5).powi(2));
                assert!(squares.sum::<f64>().sqrt() >= 0.78, "{a:?} {b:?}");
            }
        }
    }

    /// Against areas by geometry, in squares of the radius.
    #[test]
    fn shapes_have_their_areas() {
        use std::f64::consts::PI;
        let areas = [PI, 1.76 * 1.76, 1.8, 2.0, 2.0 * 2.0 * 0.68 - 0.68 * 0.68, 0.75 * PI];
        for (shape, area) in Shape::ALL.iter().zip(areas) {
            let object = Object { shape: *shape, colour: Colour::Black, size: Size::Large };
            let side = 128;
            let image = draw(&[Placed { object, at: [0.5; 2] }], side);
            let radius = object.size.radius() * side as f64;
            let dark: f64 = image.pixels.iter().step_by(3).map(|&v| (128.0 - f64::from(v)) / 113.0).sum();
            assert!((dark / (radius * radius) / area - 1.0).abs() < 0.01, "{}: {dark}", shape.word());
            let middle = &image.pixels[3 * (side / 2 * side + side / 2)..][..3];
            assert_eq!(middle == BACKGROUND, *shape == Shape::Ring);
        }
    }

    #[test]
    fn pictures_grow_with_their_side() {
        let object = Object { shape: Shape::Square, colour: Colour::Red, size: Size::Small };
        for side in [24, 32, 200] {
            let image = draw(&[Placed { object, at: [0.25, 0.75] }], side);
            assert_eq!((image.width, image.height, image.channels), (side, side, 3));
            let at = |x: f64, y: f64| {
                &image.pixels[3 * ((y * side as f64) as usize * side + (x * side as f64) as usize)..][..3]
            };
            assert_eq!((at(0.25, 0.75), at(0.75, 0.25)), (&[225, 35, 35][..], &BACKGROUND[..]));
        }
    }
}
