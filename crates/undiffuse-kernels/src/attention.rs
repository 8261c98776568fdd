//! Scaled dot-product attention (Vaswani et al. 2017, Eq. 1) between the pixels of maps, forward and backward.
//!
//! `o = softmax(scale · q kᵀ) v` for every head, without keeping the `length × length` matrix: a block of queries at a
//! time, so a thread needs `O(length · (dim + block))` memory. The queries and keys of a head are its `dim` channels, one
//! a pixel.

use crate::blocks::{for_each, steps};
use crate::elementary::exp;
use crate::gemm;
use crate::map::{len, vectors, vectors_mut};
use crate::panel::{padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use std::ops::Range;

/// The size of an attention. Tensors are maps of `heads · dim` channels and `length` pixels; the channels of a head lie
/// side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Images.
    pub batch: usize,
    /// Heads of an image.
    pub heads: usize,
    /// Queries, and keys: pixels of an image.
    pub length: usize,
    /// Numbers of a query, key or value.
    pub dim: usize,
    /// Multiplies the scores; commonly `1 / √dim`.
    pub scale: f32,
}

impl Attention {
    fn check(&self, name: &str, length: usize) {
        let expected = len(self.batch, self.heads * self.dim, self.length);
        assert_eq!(length, expected, "attention: length of {name} for {self:?}");
    }

    /// Vectors of an image.
    fn image(&self) -> usize {
        panels(self.heads * self.dim) * self.length
    }

    /// Heads that a task works on: one, unless heads share vectors.
    fn heads_of_task(&self) -> usize {
        if self.dim.is_multiple_of(LANES) { 1 } else { self.heads }
    }

    /// Vectors that a task writes.
    fn of_task(&self) -> usize {
        panels(self.heads_of_task() * self.dim) * self.length
    }

    /// The image, and the heads of it, of a task.
    fn task(&self, i: usize) -> (usize, Range<usize>) {
        let (at_once, tasks) = (self.heads_of_task(), self.heads / self.heads_of_task());
        (i / tasks, i % tasks * at_once..(i % tasks + 1) * at_once)
    }
}

/// Queries at a time; without influence on the result.
const BLOCK: usize = 48;

/// Writes `o = softmax(scale · q kᵀ) v`. `qkv` is `[q, k, v]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Attention, qkv: [&[f32]; 3], o: &mut [f32]) {
    for (name, t) in ["q", "k", "v"].into_iter().zip(qkv) {
        shape.check(name, t.len());
    }
    shape.check("o", o.len());
    if o.is_empty() {
        return;
    }
    let work = qkv[0].len() * shape.length * 2;
    let qkv = qkv.map(vectors);
    for_each(vectors_mut(o).chunks_mut(shape.of_task()).enumerate(), work, |(i, o)| {
        let (image, heads) = shape.task(i);
        let qkv = qkv.map(|t| &t[image * shape.image()..][..shape.image()]);
        dispatch(Forward { shape, qkv, heads, o });
    });
}

/// Writes the gradients `[dq, dk, dv]` from `[q, k, v]` and the gradient `d_o` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward(shape: &Attention, qkv: [&[f32]; 3], d_o: &[f32], d_qkv: [&mut [f32]; 3]) {
    let lengths = [qkv[0], qkv[1], qkv[2], d_o].map(<[f32]>::len).into_iter().chain(d_qkv.iter().map(|d| d.len()));
    for (name, len) in ["q", "k", "v", "do", "dq", "dk", "dv"].into_iter().zip(lengths) {
        shape.check(name, len);
    }
    if d_o.is_empty() {
        return;
    }
    let work = qkv[0].len() * shape.length * 5;
    let inputs = [qkv[0], qkv[1], qkv[2], d_o].map(vectors);
    let [dq, dk, dv] = d_qkv.map(|d| vectors_mut(d).chunks_mut(shape.of_task()));
    for_each(dq.zip(dk.zip(dv)).enumerate(), work, |(i, (dq, (dk, dv)))| {
        let (image, heads) = shape.task(i);
        let inputs = inputs.map(|t| &t[image * shape.image()..][..shape.image()]);
        dispatch(Backward { shape, inputs, heads, outputs: [dq, dk, dv] });
    });
}

/// Copies the rows `rows` of a head, whose first channel is `channel` of `map`, to panels of `to_rows` rows; the rows
/// beyond are zero.
#[inline(always)]
fn gather(
    map: &[Lanes],
    length: usize,
    channel: usize,
    dim: usize,
    rows: Range<usize>,
    to: &mut [Lanes],
    to_rows: usize,
) {
    for (p, to) in to.chunks_exact_mut(to_rows).enumerate() {
        let (to, beyond) = to.split_at_mut(rows.len());
        beyond.fill([0.0; LANES]);
        if dim.is_multiple_of(LANES) {
            to.copy_from_slice(&map[(channel / LANES + p) * length..][rows.clone()]);
        } else {
            for (to, row) in to.iter_mut().zip(rows.clone()) {
                for (lane, to) in to.iter_mut().enumerate() {
                    let (c, inside) = (channel + p * LANES + lane, p * LANES + lane < dim);
                    *to = if inside { map[c / LANES * length + row][c % LANES] } else { 0.0 };
                }
            }
        }
    }
}

/// Writes the rows of panels to the rows `rows` of a head of `map`, each multiplied by its `factor`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn scatter<S: Simd>(
    s: S,
    from: &[Lanes],
    from_rows: usize,
    factor: &[f32],
    map: &mut [Lanes],
    length: usize,
    channel: usize,
    dim: usize,
    rows: Range<usize>,
) {
    for (p, from) in from.chunks_exact(from_rows).enumerate() {
        for ((i, row), from) in rows.clone().enumerate().zip(from) {
            let v = s.mul(s.load(from), s.splat(factor[i % factor.len()]));
            if dim.is_multiple_of(LANES) {
                s.store(v, &mut map[(channel / LANES + p) * length + row]);
            } else {
                let lanes = s.lanes(v);
                for (lane, x) in lanes[..LANES.min(dim - p * LANES)].iter().enumerate() {
                    let c = channel + p * LANES + lane;
                    map[c / LANES * length + row][c % LANES] = *x;
                }
            }
        }
    }
}

/// The transpose: `from` is `[panels of columns][from_rows]`, `to` is `[panels of rows][padded columns]`.
#[inline(always)]
fn transpose<S: Simd>(s: S, from: &[Lanes], from_rows: usize, to: &mut [Lanes], to_rows: usize) {
    for (p, from) in from.chunks_exact(from_rows).enumerate() {
        for (q, block) in from.chunks_exact(LANES).enumerate() {
            let mut rows = [s.zero(); LANES];
            for (row, from) in rows.iter_mut().zip(block) {
                *row = s.load(from);
            }
            let to = &mut to[q * to_rows + p * LANES..][..LANES];
            for (to, v) in to.iter_mut().zip(s.transpose(rows)) {
                s.store(v, to);
            }
        }
    }
}

/// Some heads of one image.
struct Forward<'a> {
    shape: &'a Attention,
    qkv: [&'a [Lanes]; 3],
    heads: Range<usize>,
    o: &'a mut [Lanes],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, qkv: [q, k, v], heads, o } = self;
        let (depth, keys, dims) = (padded(dim), padded(length), panels(dim));
        let mut k_p = Scratch::new(dims * keys);
        let mut k_t = Scratch::new(panels(length) * depth);
        let mut v_p = Scratch::new(dims * keys);
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(panels(length) * BLOCK);
        let mut o_p = Scratch::new(dims * BLOCK);
        if !dim.is_multiple_of(LANES) {
            o.fill([0.0; LANES]);
        }
        for head in heads.clone() {
            let (channel, own) = (head * dim, (head - heads.start) * dim);
            gather(k, length, channel, dim, 0..length, &mut k_p, keys);
            transpose(s, &k_p, keys, &mut k_t, depth);
            gather(v, length, channel, dim, 0..length, &mut v_p, keys);
            for block in steps(length, BLOCK) {
                let rows = block.len().next_multiple_of(4);
                let q_p = &mut q_p[..dims * rows];
                gather(q, length, channel, dim, block.clone(), q_p, rows);
                multiply(s, q_p, scale);
                let scores = &mut scores[..panels(length) * rows];
                gemm::nn(s, q_p, &k_t, scores, rows, depth, false);
                let mut inverse = [0.0; BLOCK];
                for (r, inverse) in inverse.iter_mut().enumerate().take(block.len()) {
                    *inverse = 1.0 / exponentials(s, scores, rows, r, length);
                }
                let o_p = &mut o_p[..dims * rows];
                gemm::nn(s, scores, &v_p, o_p, rows, keys, false);
                scatter(s, o_p, rows, &inverse, o, length, own, dim, block);
            }
        }
    }
}

/// Some heads of one image: `inputs` are `[q, k, v, do]`, `outputs` are `[dq, dk, dv]`.
struct Backward<'a> {
    shape: &'a Attention,
    inputs: [&'a [Lanes]; 4],
    heads: Range<usize>,
    outputs: [&'a mut [Lanes]; 3],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `P = softmax(scale · q kᵀ)`: `dv = Pᵀ do`, `dP = do vᵀ`, `dS = P ∘ (dP − Σ P ∘ dP)` (the sum over each
    /// row), `dq = scale · dS k`, `dk = scale · dSᵀ q` (Dao et al. 2022, App. B.2).
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, inputs, heads, outputs: [dq, dk, dv] } = self;
        let [q, k, v, d_o] = inputs;
        let (depth, keys) = (padded(dim), padded(length));
        let (dims, lengths) = (panels(dim), panels(length));
        let mut k_p = Scratch::new(dims * keys);
        let mut v_p = Scratch::new(dims * keys);
        let mut k_t = Scratch::new(lengths * depth);
        let mut v_t = Scratch::new(lengths * depth);
        let mut dk_p = Scratch::new(dims * keys);
        let mut dv_p = Scratch::new(dims * keys);
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut do_p = Scratch::new(dims * BLOCK);
        let mut dq_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(lengths * BLOCK);
        let mut d_scores = Scratch::new(lengths * BLOCK);
        if !dim.is_multiple_of(LANES) {
            for d in [&mut *dq, &mut *dk, &mut *dv] {
                d.fill([0.0; LANES]);
            }
        }
        for head in heads.clone() {
            let (channel, own) = (head * dim, (head - heads.start) * dim);
            gather(k, length, channel, dim, 0..length, &mut k_p, keys);
            gather(v, length, channel, dim, 0..length, &mut v_p, keys);
            transpose(s, &k_p, keys, &mut k_t, depth);
            transpose(s, &v_p, keys, &mut v_t, depth);
            dk_p.fill([0.0; LANES]);
            dv_p.fill([0.0; LANES]);
            for block in steps(length, BLOCK) {
                let rows = block.len().next_multiple_of(4);
                let (scores, d_scores) = (&mut scores[..lengths * rows], &mut d_scores[..lengths * rows]);
                let (q_p, do_p, dq_p) = (&mut q_p[..dims * rows], &mut do_p[..dims * rows], &mut dq_p[..dims * rows]);
                gather(q, length, channel, dim, block.clone(), q_p, rows);
                multiply(s, q_p, scale);
                gather(d_o, length, channel, dim, block.clone(), do_p, rows);
                gemm::nn(s, q_p, &k_t, scores, rows, depth, false);
                gemm::nn(s, do_p, &v_t, d_scores, rows, depth, false);
                for r in 0..rows {
                    if r < block.len() {
                        let inverse = 1.0 / exponentials(s, scores, rows, r, length);
                        score_gradients(s, scores, d_scores, rows, r, inverse);
                    } else {
                        // rows that only fill the tile must not reach the sums over queries
                        for p in 0..lengths {
                            scores[p * rows + r] = [0.0; LANES];
                            d_scores[p * rows + r] = [0.0; LANES];
                        }
                    }
                }
                gemm::nn(s, d_scores, &k_p, dq_p, rows, keys, false);
                scatter(s, dq_p, rows, &[scale], dq, length, own, dim, block);
                gemm::tn(s, d_scores, q_p, &mut dk_p, rows, keys);
                gemm::tn(s, scores, do_p, &mut dv_p, rows, keys);
            }
            scatter(s, &dk_p, keys, &[1.0], dk, length, own, dim, 0..length);
            scatter(s, &dv_p, keys, &[1.0], dv, length, own, dim, 0..length);
        }
    }
}

/// Multiplies all.
#[inline(always)]
fn multiply<S: Simd>(s: S, x: &mut [Lanes], factor: f32) {
    let factor = s.splat(factor);
    for x in x {
        s.store(s.mul(s.load(x), factor), x);
    }
}

/// Turns row `r` of the scores into `e^(score − largest)` and returns the sum of the row.
#[inline(always)]
fn exponentials<S: Simd>(s: S, scores: &mut [Lanes], rows: usize, r: usize, length: usize) -> f32 {
    let last = (panels(length) - 1) * rows + r;
    let filled = length - (panels(length) - 1) * LANES;
    scores[last][filled..].fill(f32::NEG_INFINITY);
    let mut largest = s.load(&scores[r]);
    for row in scores[r..].iter().step_by(rows) {
        largest = s.max(s.load(row), largest);
    }
    let largest = s.splat(s.largest(largest));
    // Below e⁻⁶⁰ nothing is left of an addend beside a sum of at least 1; stopping there also keeps the products
    // that follow away from denormal numbers, which are slow.
    let least = s.splat(-60.0);
    let mut sum = s.zero();
    for row in scores[r..].iter_mut().step_by(rows) {
        let e = exp(s, s.max(least, s.sub(s.load(row), largest)));
        sum = s.add(sum, e);
        s.store(e, row);
    }
    scores[last][filled..].fill(0.0);
    s.sum(sum)
}

/// Divides row `r` of `p` by its sum, and turns row `r` of `dp` into `p ∘ (dp − Σ p ∘ dp)`.
#[inline(always)]
fn score_gradients<S: Simd>(s: S, p: &mut [Lanes], dp: &mut [Lanes], rows: usize, r: usize, inverse: f32) {
    let inverse = s.splat(inverse);
    let mut sum = s.zero();
    for (p, dp) in p[r..].iter_mut().step_by(rows).zip(dp[r..].iter().step_by(rows)) {
        let probability = s.mul(s.load(p), inverse);
        s.store(probability, p);
        sum = s.mul_add(probability, s.load(dp), sum);
    }
    let sum = s.splat(s.sum(sum));
    for (p, dp) in p[r..].iter().step_by(rows).zip(dp[r..].iter_mut().step_by(rows)) {
        let d = s.mul(s.load(p), s.sub(s.load(dp), sum));
        s.store(d, dp);
    }
}
