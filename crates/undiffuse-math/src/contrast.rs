//! The contrast of pictures and texts: each is to be nearest to its own among those of a batch [Oord18, Eq. 4; Radford21,
//! Fig. 3].
//!
//! With `u = p / |p|` of the pictures, `v = t / |t|` of the texts and `z_ij = s u_i · v_j`, a pair's loss is
//!
//! > `-(ln softmax_j(z_i·)_i + ln softmax_i(z_·i)_i) / 2`.
//!
//! Its gradient is written by hand, in `f64` and in one order: a picture's depends on all others of its batch, and the same
//! bits are to come of any number of threads.

/// The loss of each pair, and the slopes of their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// The loss of each pair, in nats.
    pub losses: Vec<f64>,
    /// By the pictures' vectors `[B, D]`.
    pub pictures: Vec<f64>,
    /// By the texts' vectors `[B, D]`.
    pub texts: Vec<f64>,
    /// By `ln s`.
    pub log_scale: f64,
}

/// The contrast of the pairs of `pictures [B, D]` and `texts [B, D]`, `D = width`, with `s = exp(log_scale)`. Pairs of the same
/// `group` say the same: none of them is held against another.
///
/// # Panics
/// If the numbers are not those of as many vectors.
pub fn contrast(pictures: &[f32], texts: &[f32], width: usize, groups: &[usize], log_scale: f64) -> Contrast {
    let n = groups.len();
    assert!(pictures.len() == n * width && texts.len() == n * width, "{n} pairs of vectors of {width}");
    let (u, v) = (Units::of(pictures, width), Units::of(texts, width));
    let scale = log_scale.exp();
    let mut z = times_transposed(&u.values, &v.values, n, width);
    z.iter_mut().for_each(|z| *z *= scale);
    let other = |i: usize, j: usize| i != j && groups[i] == groups[j];
    let mut losses = vec![0.0; n];
    // The slopes by z: what each softmax gives too much of.
    let mut slopes = vec![0.0; n * n];
    for across in [false, true] {
        let at = |i: usize, j: usize| if across { j * n + i } else { i * n + j };
        for (i, loss) in losses.iter_mut().enumerate() {
            let counted = || (0..n).filter(move |&j| !other(i, j));
            let largest = counted().map(|j| z[at(i, j)]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = counted().map(|j| (z[at(i, j)] - largest).exp()).sum();
            *loss += (largest + sum.ln() - z[at(i, i)]) / 2.0;
            counted().for_each(|j| slopes[at(i, j)] += (z[at(i, j)] - largest).exp() / sum / 2.0);
            slopes[at(i, i)] -= 0.5;
        }
    }
    let log_scale = slopes.iter().zip(&z).map(|(slope, z)| slope * z).sum();
    slopes.iter_mut().for_each(|slope| *slope *= scale);
    let pictures = u.slopes(times(&slopes, &v.values, n, width));
    let texts = v.slopes(times(&transposed(&slopes, n, n), &u.values, n, width));
    Contrast { losses, pictures, texts, log_scale }
}

/// Vectors at length 1.
struct Units {
    width: usize,
    values: Vec<f64>,
    lengths: Vec<f64>,
}

impl Units {
    fn of(vectors: &[f32], width: usize) -> Self {
        let length = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        let lengths: Vec<f64> = vectors.chunks_exact(width).map(length).collect();
        let values = vectors.chunks_exact(width).zip(&lengths);
        let values = values.flat_map(|(row, length)| row.iter().map(move |&x| f64::from(x) / length)).collect();
        Self { width, values, lengths }
    }

    /// From slopes by the unit vectors to slopes by the vectors: `(g - u (u · g)) / |x|`.
    fn slopes(&self, mut by_units: Vec<f64>) -> Vec<f64> {
        let rows = by_units.chunks_exact_mut(self.width).zip(self.values.chunks_exact(self.width));
        for ((g, u), length) in rows.zip(&self.lengths) {
            let along: f64 = g.iter().zip(u).map(|(g, u)| g * u).sum();
            g.iter_mut().zip(u).for_each(|(g, u)| *g = (*g - u * along) / length);
        }
        by_units
    }
}

/// `a [M, K]` times `b [K, N]`, each number a sum in the order of `k`.
fn times(a: &[f64], b: &[f64], k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; a.len() / k.max(1) * n];
    for (c, a) in c.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            c.iter_mut().zip(b).for_each(|(c, b)| *c += a * b);
        }
    }
    c
}

/// `a [N, K]` times `b [N, K]` transposed.
fn times_transposed(a: &[f64], b: &[f64], n: usize, k: usize) -> Vec<f64> {
    times(a, &transposed(b, n, k), k, n)
}

/// `a [N, K]` as `[K, N]`.
fn transposed(a: &[f64], n: usize, k: usize) -> Vec<f64> {
    (0..k).flat_map(|column| (0..n).map(move |row| a[row * k + column])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    const WIDTH: usize = 5;

    fn vectors(stream: u64, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n * WIDTH];
        noise::normal(7, stream, 0, &mut values);
        values
    }

    /// Two pairs at right angles: `z` is `s` times the identity, so each loss is `ln(1 + e^-s)`, and its slope by `ln s` is
    /// `-s / (1 + e^s)`.
    #[test]
    fn two_pairs_at_right_angles() {
        let (eye, scale) = ([2.0, 0.0, 0.0, 3.0], 1.5f64);
        let of = contrast(&eye, &eye, 2, &[0, 1], scale.ln());
        assert!(of.losses.iter().all(|loss| (loss - (-scale).exp().ln_1p()).abs() < 1e-12), "{of:?}");
        assert!((of.log_scale + 2.0 * scale / (1.0 + scale.exp())).abs() < 1e-12, "{of:?}");
        // Longer vectors are nearer to nothing.
        assert!(of.pictures[0].abs() < 1e-12 && of.pictures[3].abs() < 1e-12);
    }

    /// Pairs that say the same are not held against each other: beside their like there is nothing to tell apart.
    #[test]
    fn the_same_words_are_no_contrast() {
        let (p, t) = (vectors(0, 3), vectors(1, 3));
        let of = contrast(&p, &t, WIDTH, &[4, 4, 4], 1.0);
        assert!(of.losses.iter().chain(&of.pictures).chain(&of.texts).all(|x| x.abs() < 1e-12), "{of:?}");
    }

    #[test]
    fn slopes_are_differences() {
        let (n, groups, log_scale) = (6, [0, 1, 2, 1, 3, 4], 0.7);
        let (p, t) = (vectors(0, n), vectors(1, n));
        let sum =
            |p: &[f32], t: &[f32], log_scale| contrast(p, t, WIDTH, &groups, log_scale).losses.iter().sum::<f64>();
        let of = contrast(&p, &t, WIDTH, &groups, log_scale);
        // A power of two, so that f32 holds what is added.
        let step = 2f32.powi(-12);
        let moved = |x: &[f32], k: usize, by: f32| {
            let mut x = x.to_vec();
            x[k] += by;
            (x.clone(), f64::from(x[k]))
        };
        for k in 0..n * WIDTH {
            let slope = |x: &[f32], f: &dyn Fn(&[f32]) -> f64| {
                let ((up, high), (down, low)) = (moved(x, k, step), moved(x, k, -step));
                (f(&up) - f(&down)) / (high - low)
            };
            let by_picture = slope(&p, &|p| sum(p, &t, log_scale));
            let by_text = slope(&t, &|t| sum(&p, t, log_scale));
            assert!((by_picture - of.pictures[k]).abs() < 1e-5 && (by_text - of.texts[k]).abs() < 1e-5, "{k}");
        }
        let by_scale = (sum(&p, &t, log_scale + 1e-5) - sum(&p, &t, log_scale - 1e-5)) / 2e-5;
        assert!((by_scale - of.log_scale).abs() < 1e-8, "{by_scale} {}", of.log_scale);
    }
}
