//! Scaled dot-product attention (Vaswani et al. 2017, Eq. 1), forward and backward.
//!
//! `o = softmax(scale · q kᵀ) v` for every head, without keeping the `length × length` matrix: a block of queries at a
//! time, so a thread needs `O(length · (dim + block))` memory.

use crate::blocks::for_each;
use crate::elementary::exp;
use crate::gemm;
use crate::panel::{pack, pack_transposed, padded, panels, unpack_row};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};

/// The size of an attention. Tensors are `[heads, length, dim]`, where `heads` counts those of all images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Images × heads.
    pub heads: usize,
    /// Queries, and keys.
    pub length: usize,
    /// Numbers of a query, key or value.
    pub dim: usize,
    /// Multiplies the scores; commonly `1 / √dim`.
    pub scale: f32,
}

impl Attention {
    fn check(&self, name: &str, len: usize) {
        let Self { heads, length, dim, .. } = *self;
        assert_eq!(len, heads * length * dim, "attention: length of {name} for {self:?}");
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
    let head = shape.length * shape.dim;
    if head == 0 {
        return;
    }
    // With fewer heads than threads, a head is cut into spans of queries.
    let spans = rayon::current_num_threads().div_ceil(shape.heads.max(1));
    let queries = shape.length.div_ceil(spans).next_multiple_of(BLOCK).min(shape.length);
    let outputs = o
        .chunks_mut(head)
        .enumerate()
        .flat_map(|(h, o)| o.chunks_mut(queries * shape.dim).enumerate().map(move |(i, o)| (h, i * queries, o)));
    for_each(outputs, qkv[0].len() * shape.length * 2, |(h, first, o)| {
        let [q, k, v] = qkv.map(|t| &t[h * head..(h + 1) * head]);
        let q = &q[first * shape.dim..][..o.len()];
        dispatch(Forward { shape, q, k, v, o });
    });
}

/// Writes the gradients `[dq, dk, dv]` from `[q, k, v]` and the gradient `d_o` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward(shape: &Attention, qkv: [&[f32]; 3], d_o: &[f32], [dq, dk, dv]: [&mut [f32]; 3]) {
    let lengths = [qkv[0].len(), qkv[1].len(), qkv[2].len(), d_o.len(), dq.len(), dk.len(), dv.len()];
    for (name, len) in ["q", "k", "v", "do", "dq", "dk", "dv"].into_iter().zip(lengths) {
        shape.check(name, len);
    }
    let head = shape.length * shape.dim;
    if head == 0 {
        return;
    }
    let outputs = dq.chunks_mut(head).zip(dk.chunks_mut(head).zip(dv.chunks_mut(head))).enumerate();
    for_each(outputs, qkv[0].len() * shape.length * 5, |(h, (dq, (dk, dv)))| {
        let [q, k, v, d_o] = [qkv[0], qkv[1], qkv[2], d_o].map(|t| &t[h * head..(h + 1) * head]);
        dispatch(Backward { shape, q, k, v, d_o, dq, dk, dv });
    });
}

/// Some queries of one head.
struct Forward<'a> {
    shape: &'a Attention,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    o: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, q, k, v, o } = self;
        let (depth, keys) = (padded(dim), padded(length));
        let mut k_t = Scratch::new(panels(length) * depth);
        let mut v_p = Scratch::new(panels(dim) * keys);
        let mut q_p = Scratch::new(panels(dim) * BLOCK);
        let mut scores = Scratch::new(panels(length) * BLOCK);
        let mut o_p = Scratch::new(panels(dim) * BLOCK);
        pack_transposed(s, k, dim, length, dim, &mut k_t, depth);
        pack(v, dim, length, dim, &mut v_p, keys);
        for (q, o) in q.chunks(BLOCK * dim).zip(o.chunks_mut(BLOCK * dim)) {
            let queries = q.len() / dim;
            let rows = queries.next_multiple_of(4);
            pack_scaled(s, q, dim, queries, scale, &mut q_p, rows);
            let scores = &mut scores[..panels(length) * rows];
            gemm::nn(s, &q_p, &k_t, scores, rows, depth, false);
            let mut inverse = [0.0; BLOCK];
            for (r, inverse) in inverse.iter_mut().enumerate().take(queries) {
                *inverse = 1.0 / exponentials(s, scores, rows, r, length);
            }
            let o_p = &mut o_p[..panels(dim) * rows];
            gemm::nn(s, scores, &v_p, o_p, rows, keys, false);
            for (r, o) in o.chunks_exact_mut(dim).enumerate() {
                unpack_row(s, o_p, rows, r, o, inverse[r]);
            }
        }
    }
}

/// One head.
struct Backward<'a> {
    shape: &'a Attention,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    d_o: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `P = softmax(scale · q kᵀ)`: `dv = Pᵀ do`, `dP = do vᵀ`, `dS = P ∘ (dP − Σ P ∘ dP)` (the sum over each
    /// row), `dq = scale · dS k`, `dk = scale · dSᵀ q` (Dao et al. 2022, App. B.2).
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, q, k, v, d_o, dq, dk, dv } = self;
        let (depth, keys) = (padded(dim), padded(length));
        let (dims, lengths) = (panels(dim), panels(length));
        let mut k_t = Scratch::new(lengths * depth);
        let mut v_t = Scratch::new(lengths * depth);
        let mut k_p = Scratch::new(dims * keys);
        let mut dk_p = Scratch::zeroed(dims * keys);
        let mut dv_p = Scratch::zeroed(dims * keys);
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut do_p = Scratch::new(dims * BLOCK);
        let mut dq_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(lengths * BLOCK);
        let mut d_scores = Scratch::new(lengths * BLOCK);
        pack_transposed(s, k, dim, length, dim, &mut k_t, depth);
        pack_transposed(s, v, dim, length, dim, &mut v_t, depth);
        pack(k, dim, length, dim, &mut k_p, keys);
        let queries = q.chunks(BLOCK * dim).zip(d_o.chunks(BLOCK * dim));
        for ((q, d_o), dq) in queries.zip(dq.chunks_mut(BLOCK * dim)) {
            let queries = q.len() / dim;
            let rows = queries.next_multiple_of(4);
            let (scores, d_scores) = (&mut scores[..lengths * rows], &mut d_scores[..lengths * rows]);
            let (q_p, do_p, dq_p) = (&mut q_p[..dims * rows], &mut do_p[..dims * rows], &mut dq_p[..dims * rows]);
            pack_scaled(s, q, dim, queries, scale, q_p, rows);
            pack(d_o, dim, queries, dim, do_p, rows);
            gemm::nn(s, q_p, &k_t, scores, rows, depth, false);
            gemm::nn(s, do_p, &v_t, d_scores, rows, depth, false);
            for r in 0..rows {
                if r < queries {
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
            for (r, dq) in dq.chunks_exact_mut(dim).enumerate() {
                unpack_row(s, dq_p, rows, r, dq, scale);
            }
            gemm::tn(s, d_scores, q_p, &mut dk_p, rows, keys);
            gemm::tn(s, scores, do_p, &mut dv_p, rows, keys);
        }
        for (r, (dk, dv)) in dk.chunks_exact_mut(dim).zip(dv.chunks_exact_mut(dim)).enumerate() {
            unpack_row(s, &dk_p, keys, r, dk, 1.0);
            unpack_row(s, &dv_p, keys, r, dv, 1.0);
        }
    }
}

/// Packs queries multiplied by `scale`.
#[inline(always)]
fn pack_scaled<S: Simd>(s: S, q: &[f32], dim: usize, queries: usize, scale: f32, to: &mut [Lanes], rows: usize) {
    pack(q, dim, queries, dim, to, rows);
    let scale = s.splat(scale);
    for lanes in &mut to[..panels(dim) * rows] {
        s.store(s.mul(s.load(lanes), scale), lanes);
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
