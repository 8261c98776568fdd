//! Pictures for the report: what was judged beside what is real, and where their vectors lie.

use undiffuse_data::figure::{Layer, Panel, Point, figure};
use undiffuse_data::{Image, grid};
use undiffuse_math::noise;
use undiffuse_metrics::Rows;

use crate::audit::{self, Audit};
use crate::pictures::PictureSet;
use crate::report::Illustration;

/// Pictures of each side in the grids.
const SHOWN: usize = 48;
/// Pictures in a row of a grid.
const COLUMNS: usize = 8;
/// Vectors of each side on the map.
const DOTS: usize = 1500;

/// Judged pictures on the left, real ones on the right, the first of each.
pub fn side_by_side(judged: (&dyn PictureSet, &[usize]), real: (&dyn PictureSet, &[usize])) -> Illustration {
    let some = |(pictures, indices): (&dyn PictureSet, &[usize])| {
        // Spread over the set: folders are often sorted by class.
        let step = (indices.len() / SHOWN).max(1);
        let images: Vec<Image> = indices.iter().step_by(step).take(SHOWN).map(|&i| pictures.image(i)).collect();
        grid(&images, COLUMNS, 1)
    };
    let (left, right) = (some(judged), some(real));
    let gap = left.width / COLUMNS / 2;
    let mut both =
        Image::filled(left.width + gap + right.width, left.height.max(right.height), &vec![255; left.channels]);
    both.paste(&left, 0, 0);
    both.paste(&right, left.width + gap, 0);
    Illustration {
        title: "Judged and real".into(),
        caption: "Left: judged pictures. Right: pictures of the data.".into(),
        image: both,
        pixels: true,
    }
}

/// Vectors of both sides on the two directions in which the real ones vary most.
pub fn map(real: Rows, judged: Rows) -> Illustration {
    let dims = real.dims();
    let mean = mean(real);
    let directions = principal(real, &mean);
    let place = |row: &[f32]| -> Point {
        let along = |d: &[f64]| (0..dims).map(|k| (f64::from(row[k]) - mean[k]) * d[k]).sum();
        (along(&directions[0]), along(&directions[1]))
    };
    let dots = |rows: Rows| -> Vec<Point> {
        let step = rows.len().div_ceil(DOTS).max(1);
        rows.iter().step_by(step).map(place).collect()
    };
    let layers = vec![Layer::points("real", dots(real)), Layer::points("judged", dots(judged))];
    let panel = Panel::new("", layers).labels("1st principal component", "2nd");
    Illustration {
        title: "Where the vectors lie".into(),
        caption: "Each dot is a picture's vector, on the principal components of the real ones. Parts of the real cloud without judged dots are kinds of pictures that are \
                  missing; judged dots outside of it are pictures unlike any real one."
            .into(),
        image: figure("", 1, (760, 520), &[panel]),
        pixels: false,
    }
}

/// How near to their nearest training pictures judged and unseen real pictures are.
pub fn ratios(audit: &Audit) -> Illustration {
    Illustration {
        title: "Copies: the test".into(),
        caption: "Share of pictures whose nearest training picture is so much nearer than the next twenty. Left of the threshold, \
                  which unseen real pictures set, a picture counts as a copy."
            .into(),
        image: audit::figure(audit),
        pixels: false,
    }
}

/// The judged pictures that are most like copies, each beside its nearest training pictures.
pub fn offenders(audit: &Audit, made: impl Fn(usize) -> Image, seen: impl Fn(usize) -> Image) -> Illustration {
    Illustration {
        title: "Copies: the worst offenders".into(),
        caption: "Each judged picture beside the training picture nearest to it by pixels and by features; the number below is the \
                  ratio of the test and its threshold."
            .into(),
        image: audit::pairs(audit, made, seen),
        pixels: false,
    }
}

fn mean(rows: Rows) -> Vec<f64> {
    let mut mean = vec![0.0; rows.dims()];
    rows.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x)));
    mean.iter_mut().for_each(|m| *m /= rows.len() as f64);
    mean
}

/// The two directions of largest variance, by subspace iteration: good enough for a map.
fn principal(rows: Rows, mean: &[f64]) -> [Vec<f64>; 2] {
    let dims = rows.dims();
    let random = |k: u64| {
        let mut out = vec![0.0f32; dims];
        noise::normal(k, 0, 0, &mut out);
        out.into_iter().map(f64::from).collect::<Vec<_>>()
    };
    let mut pair = [random(1), random(2)];
    let step = rows.len().div_ceil(DOTS).max(1);
    for _ in 0..30 {
        let mut next = [vec![0.0; dims], vec![0.0; dims]];
        for row in rows.iter().step_by(step) {
            for (from, to) in pair.iter().zip(&mut next) {
                let along: f64 = (0..dims).map(|k| (f64::from(row[k]) - mean[k]) * from[k]).sum();
                (0..dims).for_each(|k| to[k] += along * (f64::from(row[k]) - mean[k]));
            }
        }
        let [mut a, mut b] = next;
        normalize(&mut a);
        let along = dot(&a, &b);
        (0..dims).for_each(|k| b[k] -= along * a[k]);
        normalize(&mut b);
        pair = [a, b];
    }
    pair
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalize(a: &mut [f64]) {
    let length = dot(a, a).sqrt().max(f64::MIN_POSITIVE);
    a.iter_mut().for_each(|x| *x /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_lies_along_the_largest_variances() {
        let (n, dims) = (400, 6);
        let mut values = vec![0.0f32; n * dims];
        noise::normal(3, 0, 0, &mut values);
        values.chunks_exact_mut(dims).for_each(|row| {
            row[4] = row[4] * 9.0 + 100.0;
            row[1] *= 4.0;
        });
        let rows = Rows::new(&values, dims);
        let [first, second] = principal(rows, &mean(rows));
        assert!(first[4].abs() > 0.99, "{first:?}");
        assert!(second[1].abs() > 0.99, "{second:?}");
    }
}
