//! Layer normalisation of rows \[Ba16\], forward and backward.
//!
//! Over each row of `width`: `mean = Σ x / width`, `var = Σ (x − mean)² / width`, `x̂ = (x − mean) / √(var + eps)`,
//! `y = x̂ · gamma + beta`.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::panel::{load, store};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Rows whose gradients of gamma and beta are summed in one chain.
const ROWS: usize = 64;

/// Writes `y`; `affine` is `[gamma, beta]`, each as long as a row.
///
/// # Panics
/// If a length does not fit.
pub fn forward(eps: f32, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]) {
    let of = ROWS * check(&[x.len(), y.len()], affine.map(<[f32]>::len));
    if of > 0 {
        for_each(y.chunks_mut(of).zip(x.chunks(of)), x.len() * ELEMENTWISE, |(y, x)| {
            dispatch(Forward { eps, x, affine, y });
        });
    }
}

/// Writes `dx`, and `[dgamma, dbeta]` summed over the rows: within 64 rows in order, then over those sums in order.
///
/// # Panics
/// If a length does not fit.
pub fn backward(eps: f32, x: &[f32], gamma: &[f32], dy: &[f32], dx: &mut [f32], d_affine: [&mut [f32]; 2]) {
    let width = check(&[x.len(), dy.len(), dx.len()], [gamma.len(), d_affine[0].len()]);
    assert_eq!(d_affine[1].len(), width, "layer_norm: length of dbeta");
    let [dgamma, dbeta] = d_affine;
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    if x.is_empty() {
        return;
    }
    let of = ROWS * width;
    let mut shares = vec![0.0; x.len().div_ceil(of) * 2 * width];
    let tasks = dx.chunks_mut(of).zip(x.chunks(of).zip(dy.chunks(of))).zip(shares.chunks_mut(2 * width));
    for_each(tasks, x.len() * ELEMENTWISE, |((dx, (x, dy)), share)| {
        let (dgamma, dbeta) = share.split_at_mut(width);
        dispatch(Backward { eps, x, gamma, dy, dx, dgamma, dbeta });
    });
    for share in shares.chunks(2 * width) {
        for (sum, share) in dgamma.iter_mut().chain(dbeta.iter_mut()).zip(share) {
            *sum += share;
        }
    }
}

/// The width of a row.
fn check(lengths: &[usize], widths: [usize; 2]) -> usize {
    assert!(lengths.iter().all(|n| n == &lengths[0]), "layer_norm: lengths {lengths:?} differ");
    assert_eq!(widths[0], widths[1], "layer_norm: lengths of gamma and beta, or of their gradients");
    let rows = lengths[0].checked_div(widths[0]).unwrap_or(0);
    assert_eq!(lengths[0], rows * widths[0], "layer_norm: a whole number of rows of {}", widths[0]);
    widths[0]
}

/// Mean and inverse deviation of a row.
#[inline(always)]
fn moments<S: Simd>(s: S, eps: f32, x: &[f32]) -> [f32; 2] {
    let mut sum = s.zero();
    for x in x.chunks(LANES) {
        sum = s.add(sum, load(s, x));
    }
    let mean = s.sum(sum) / x.len() as f32;
    let mut squares = s.zero();
    for x in x.chunks(LANES) {
        let x = match x.first_chunk() {
            Some(whole) => s.load(whole),
            None => s.load_or(x, mean),
        };
        let off = s.sub(x, s.splat(mean));
        squares = s.mul_add(off, off, squares);
    }
    [mean, 1.0 / (s.sum(squares) / x.len() as f32 + eps).sqrt()]
}

struct Forward<'a> {
    eps: f32,
    x: &'a [f32],
    affine: [&'a [f32]; 2],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [gamma, beta] = self.affine;
        let width = gamma.len();
        for (y, x) in self.y.chunks_mut(width).zip(self.x.chunks(width)) {
            let [mean, inverse] = moments(s, self.eps, x);
            let affine = gamma.chunks(LANES).zip(beta.chunks(LANES));
            for ((y, x), (gamma, beta)) in y.chunks_mut(LANES).zip(x.chunks(LANES)).zip(affine) {
                let x = s.mul(s.sub(load(s, x), s.splat(mean)), s.splat(inverse));
                store(s, s.mul_add(x, load(s, gamma), load(s, beta)), y);
            }
        }
    }
}

struct Backward<'a> {
    eps: f32,
    x: &'a [f32],
    gamma: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    dgamma: &'a mut [f32],
    dbeta: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `g = dy · gamma` and `ḡ` the mean over the row: `dx = (g − ḡ(g) − x̂ · ḡ(g x̂)) / √(var + eps)`.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { eps, x, gamma, dy, dx, dgamma, dbeta } = self;
        let width = gamma.len();
        for (dx, (x, dy)) in dx.chunks_mut(width).zip(x.chunks(width).zip(dy.chunks(width))) {
            let [mean, inverse] = moments(s, eps, x);
            let (mean, v_inverse) = (s.splat(mean), s.splat(inverse));
            let (mut sum, mut sum_x) = (s.zero(), s.zero());
            for (i, (x, dy)) in x.chunks(LANES).zip(dy.chunks(LANES)).enumerate() {
                let at = i * LANES..(i * LANES + LANES).min(width);
                // Lanes beyond the end have dy = 0 and add nothing.
                let (x, dy) = (s.mul(s.sub(load(s, x), mean), v_inverse), load(s, dy));
                let g = s.mul(dy, load(s, &gamma[at.clone()]));
                sum = s.add(sum, g);
                sum_x = s.mul_add(g, x, sum_x);
                let (dgamma, dbeta) = (&mut dgamma[at.clone()], &mut dbeta[at]);
                store(s, s.mul_add(dy, x, load(s, dgamma)), dgamma);
                store(s, s.add(dy, load(s, dbeta)), dbeta);
            }
            let (mean_g, mean_gx) = (s.splat(s.sum(sum) / width as f32), s.splat(s.sum(sum_x) / width as f32));
            for (i, ((dx, x), dy)) in dx.chunks_mut(LANES).zip(x.chunks(LANES)).zip(dy.chunks(LANES)).enumerate() {
                let at = i * LANES..(i * LANES + LANES).min(width);
                let x = s.mul(s.sub(load(s, x), mean), v_inverse);
                let g = s.mul(load(s, dy), load(s, &gamma[at]));
                let rest = s.neg_mul_add(x, mean_gx, s.sub(g, mean_g));
                store(s, s.mul(rest, v_inverse), dx);
            }
        }
    }
}
