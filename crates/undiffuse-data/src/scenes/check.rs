//! Names what is in a picture of a scene.
//!
//! 1. What differs from the background in connected pieces is an object each; specks are passed over.
//! 2. Its colour is the nearest of the eight to the mean of the half of its pixels that differ most.
//! 3. How much of each pixel it covers follows from the colour; of all shapes in both sizes, drawn at every quarter of a pixel
//!    nearby, the one with the least squared difference to that is its shape, and says where it is.
//!
//! A colour or a shape that is too far from all is none.

use super::draw::BACKGROUND;
use super::{Colour, Shape, Size};
use crate::{Image, transform};

/// The side in pixels that every picture is brought to before it is read.
const SIDE: usize = 32;
/// How far a pixel of an object is from the background, in \[−1, 1\]³: half of what the nearest colour is, and a little more, which
/// noise of 0.1 crosses in one of 7,000 pixels.
const APART: f64 = 0.45;
/// The smallest piece that is an object, as a share of the picture: a third of the smallest shape.
const SPECK: f64 = 0.007;
/// The largest distance to a colour, in \[−1, 1\]³.
const COLOUR: f64 = 0.5;
/// The largest squared difference to a shape, as a share of the shape's own sum of squares.
const SHAPE: f64 = 0.5;
/// Places in a pixel at which a shape is tried, in each direction.
const PLACES: usize = 4;
/// How far from the middle of its mass an object's middle is looked for, in sides of the picture.
const REACH: f64 = 0.05;

/// What has been found in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Its shape, if it is like one.
    pub shape: Option<Shape>,
    /// Its colour, if it is near one.
    pub colour: Option<Colour>,
    /// Its size.
    pub size: Size,
    /// Where its middle is, in sides of the picture from the upper left corner: x to the right, y down.
    pub at: [f64; 2],
}

/// A reader of pictures. It holds every shape at every place within a pixel, so it is made once.
pub struct Checker {
    templates: Vec<Template>,
}

/// A shape at a place within a pixel.
struct Template {
    shape: Shape,
    size: Size,
    /// The middle, in places from the upper left corner of the pixel in the middle of the window.
    place: [usize; 2],
    /// How much of each pixel of the window it covers, by rows.
    cover: Vec<f64>,
    squares: f64,
}

impl Template {
    fn new(shape: Shape, size: Size, place: [usize; 2]) -> Template {
        let middle = place.map(|place| HALF as f64 + place as f64 / PLACES as f64);
        let radius = size.radius() * SIDE as f64;
        let pixels = (0..WINDOW * WINDOW).map(|k| [k % WINDOW, k / WINDOW]);
        let cover: Vec<f64> = pixels.map(|[x, y]| shape.cover(radius, middle, x as f64, y as f64)).collect();
        let squares = cover.iter().map(|share| share * share).sum();
        Template { shape, size, place, cover, squares }
    }
}

/// Pixels from the middle of a template's window to its edges, which are further than the largest shape reaches.
const HALF: usize = 8;
const WINDOW: usize = 2 * HALF + 1;

/// An object's pixels, and how much it covers of each.
struct Piece {
    pixels: Vec<usize>,
    cover: Vec<f64>,
}

impl Default for Checker {
    fn default() -> Checker {
        Checker::new()
    }
}

impl Checker {
    /// Draws the templates.
    pub fn new() -> Checker {
        let shapes = Shape::ALL.iter().flat_map(|&shape| Size::ALL.iter().map(move |&size| (shape, size)));
        let places =
            |(shape, size)| (0..PLACES * PLACES).map(move |k| Template::new(shape, size, [k % PLACES, k / PLACES]));
        Checker { templates: shapes.flat_map(places).collect() }
    }

    /// The objects of a picture, which is cropped to its middle square; from the left to the right.
    pub fn find(&self, image: &Image) -> Vec<Found> {
        let image = transform::square(&image.to_rgb(), SIDE);
        let pixels: Vec<[f64; 3]> =
            image.pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(|v| f64::from(v) / 127.5 - 1.0)).collect();
        let ground = BACKGROUND.map(|v| f64::from(v) / 127.5 - 1.0);
        let pieces = pieces(&pixels, ground);
        let mut found: Vec<Found> = pieces.into_iter().map(|piece| self.name(&pixels, ground, piece)).collect();
        found.sort_by(|a, b| a.at[0].total_cmp(&b.at[0]));
        found
    }

    fn name(&self, pixels: &[[f64; 3]], ground: [f64; 3], piece: Vec<usize>) -> Found {
        let mut by_distance = piece.clone();
        by_distance.sort_by(|&a, &b| distance(pixels[b], ground).total_cmp(&distance(pixels[a], ground)));
        let most = &by_distance[..by_distance.len().div_ceil(2)];
        let own = [0, 1, 2].map(|k| most.iter().map(|&pixel| pixels[pixel][k]).sum::<f64>() / most.len() as f64);
        let far = |colour: &Colour| distance(own, colour.rgb().map(|v| f64::from(v) / 127.5 - 1.0));
        let nearest = Colour::ALL.iter().copied().min_by(|a, b| far(a).total_cmp(&far(b)));
        let piece = covered(pixels, ground, own, &piece);
        let (template, at, difference) = self.fit(&piece);
        Found {
            shape: (difference <= SHAPE).then_some(template.shape),
            colour: nearest.filter(|colour| far(colour) <= COLOUR),
            size: template.size,
            at: at.map(|at| at / SIDE as f64),
        }
    }

    /// The most similar template, where its middle is in pixels, and the squared difference as a share of the template's squares.
    fn fit(&self, piece: &Piece) -> (&Template, [f64; 2], f64) {
        let mass: f64 = piece.cover.iter().sum();
        let own: f64 = piece.cover.iter().map(|share| share * share).sum();
        let middle = [0, 1].map(|axis| {
            let weighed = piece.pixels.iter().zip(&piece.cover).map(|(&pixel, share)| {
                let at = [pixel % SIDE, pixel / SIDE][axis];
                (at as f64 + 0.5) * share
            });
            weighed.sum::<f64>() / mass.max(f64::MIN_POSITIVE)
        });
        let reach = REACH * SIDE as f64;
        let range = |axis: usize| (middle[axis] - reach).floor() as i64..=(middle[axis] + reach).floor() as i64;
        let mut best = (&self.templates[0], middle, f64::INFINITY);
        for y in range(1) {
            for x in range(0) {
                for template in &self.templates {
                    let shared = shared(piece, template, x, y);
                    let difference = (own - 2.0 * shared + template.squares) / template.squares;
                    if difference < best.2 {
                        let place = template.place.map(|place| place as f64 / PLACES as f64);
                        best = (template, [x as f64 + place[0], y as f64 + place[1]], difference);
                    }
                }
            }
        }
        best
    }
}

/// The pixels of each object.
fn pieces(pixels: &[[f64; 3]], ground: [f64; 3]) -> Vec<Vec<usize>> {
    let mut left: Vec<bool> = pixels.iter().map(|&pixel| distance(pixel, ground) > APART).collect();
    let mut pieces = Vec::new();
    for start in 0..left.len() {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        let mut piece = vec![start];
        let mut next = 0;
        while let Some(&pixel) = piece.get(next) {
            next += 1;
            for beside in around(pixel) {
                if std::mem::take(&mut left[beside]) {
                    piece.push(beside);
                }
            }
        }
        pieces.push(piece);
    }
    pieces.retain(|piece| piece.len() as f64 >= SPECK * pixels.len() as f64);
    pieces
}

/// The pixel and its neighbours, corner to corner too.
fn around(pixel: usize) -> impl Iterator<Item = usize> {
    let near = |at: usize| at.saturating_sub(1)..(at + 2).min(SIDE);
    near(pixel / SIDE).flat_map(move |y| near(pixel % SIDE).map(move |x| y * SIDE + x))
}

/// How much of the pixels in and around a piece has its colour, the rest being background.
fn covered(pixels: &[[f64; 3]], ground: [f64; 3], own: [f64; 3], piece: &[usize]) -> Piece {
    let mut around: Vec<usize> = piece.iter().flat_map(|&pixel| around(pixel)).collect();
    around.sort_unstable();
    around.dedup();
    let length = distance(own, ground).powi(2);
    let share = |&pixel: &usize| {
        let along: f64 = (0..3).map(|k| (pixels[pixel][k] - ground[k]) * (own[k] - ground[k])).sum();
        (along / length).clamp(0.0, 1.0)
    };
    Piece { cover: around.iter().map(share).collect(), pixels: around }
}

/// The product of what a piece and a template cover, whose middle lies in the pixel `(x, y)`.
fn shared(piece: &Piece, template: &Template, x: i64, y: i64) -> f64 {
    let half = HALF as i64;
    let mut sum = 0.0;
    for (&pixel, share) in piece.pixels.iter().zip(&piece.cover) {
        let column = (pixel % SIDE) as i64 - x + half;
        let row = (pixel / SIDE) as i64 - y + half;
        let inside = |k: i64| (0..WINDOW as i64).contains(&k);
        if inside(column) && inside(row) {
            sum += share * template.cover[row as usize * WINDOW + column as usize];
        }
    }
    sum
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f64>().sqrt()
}
