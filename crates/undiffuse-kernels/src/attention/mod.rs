//! Scaled dot-product attention [Vaswani17, Eq. 1] between the pixels of maps, forward and backward.
//!
//! `o = softmax(scale · q kᵀ) v` for every head, without keeping the `length × length` matrix: a block of queries at a
//! time, so a thread needs `O(length · (dim + block))` memory. The queries and keys of a head are its `dim` channels, one
//! a pixel.
//!
//! A head works on whole vectors. Heads that begin within one are moved apart first and back together at the end.

mod rows;

use crate::blocks::{Block, Extent, for_each, split, steps};
use crate::gemm;
use crate::map::{from_planes, len, to_planes, vectors, vectors_mut};
use crate::panel::{padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use rows::{
    BLOCK, Rows, exponentials, exponentials_and_products, hide, inverses, largest, multiply, multiply_rows,
    score_gradients,
};
use std::f32::consts::{LN_2, LOG2_E};
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

    /// Whether every head begins and ends with a vector.
    fn is_whole(&self) -> bool {
        self.heads == 1 || self.dim.is_multiple_of(LANES)
    }

    /// The vectors of a head, `[panel][pixel]`.
    fn of_head<'a>(&self, map: &'a [Lanes], image: usize, first_panel: usize) -> &'a [Lanes] {
        &map[(image * self.heads * panels(self.dim) + first_panel) * self.length..][..panels(self.dim) * self.length]
    }

    /// Cuts an output into heads, and each into spans of pixels.
    fn split<'a>(&self, output: &'a mut [Lanes], span: usize) -> Vec<Block<'a>> {
        let by = Extent { images: 1, panels: panels(self.dim), pixels: span };
        split([output, &mut []], [self.heads * panels(self.dim), 0], self.length, by)
    }

    /// Pixels that a task takes of a head: a whole number of blocks, and as few as gives every thread a task.
    fn span(&self) -> usize {
        let spans = rayon::current_num_threads().div_ceil(self.batch * self.heads);
        self.length.div_ceil(spans).next_multiple_of(BLOCK)
    }

    /// Multiply-adds of so many products of a `length × length` matrix.
    fn work(&self, products: usize) -> usize {
        products * self.batch * self.heads * panels(self.dim) * LANES * self.length * self.length
    }

    /// Numbers of a map.
    fn len(&self) -> usize {
        len(self.batch, self.heads * self.dim, self.length)
    }

    /// The same for fewer images.
    fn images(&self, batch: usize) -> Self {
        Self { batch, ..*self }
    }
}

/// A map of heads side by side as one of heads apart, or the other way round, through planes.
fn regroup(from: &[f32], [from_channels, to_channels]: [usize; 2], length: usize, to: &mut [f32]) {
    let images = from.len() / len(1, from_channels, length);
    let numbers = images * from_channels * length;
    let mut planes = Scratch::new(numbers.div_ceil(LANES));
    let planes = &mut planes.as_flattened_mut()[..numbers];
    to_planes(from, from_channels, length, planes);
    from_planes(planes, to_channels, length, to);
}

/// Does `work`, which writes `outputs` from `inputs`, on heads apart, some images at a time.
fn on_heads_apart<const I: usize, const O: usize>(
    shape: &Attention,
    inputs: [&[f32]; I],
    outputs: [&mut [f32]; O],
    work: impl Fn(&Attention, [&[Lanes]; I], [&mut [Lanes]; O]),
) {
    let (together, length, at_once) = (shape.heads * shape.dim, shape.length, rayon::current_num_threads());
    let mut outputs = outputs.map(|o| o.chunks_mut(shape.images(at_once).len()));
    for images in steps(shape.batch, at_once) {
        let image = shape.images(1).len();
        let apart = Attention { batch: images.len() * shape.heads, heads: 1, ..*shape };
        let mut parts = Scratch::new((I + O) * apart.len() / LANES);
        let mut parts = parts.chunks_exact_mut(apart.len() / LANES);
        let mut next = || parts.next().expect("one each");
        let inputs = inputs.map(|from| {
            let to = next();
            let from = &from[images.start * image..images.end * image];
            regroup(from, [together, shape.dim], length, to.as_flattened_mut());
            &*to
        });
        let mut d = [(); O].map(|()| next());
        work(&apart, inputs, d.each_mut().map(|d| &mut **d));
        for (from, to) in d.iter().zip(&mut outputs) {
            let to = to.next().expect("as many images");
            regroup(from.as_flattened(), [shape.dim, together], length, to);
        }
    }
}

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
    if shape.is_whole() {
        of_vectors(shape, qkv.map(vectors), [vectors_mut(o)]);
    } else {
        on_heads_apart(shape, qkv, [o], of_vectors);
    }
}

/// [`forward`] of heads that are whole vectors.
fn of_vectors(shape: &Attention, qkv: [&[Lanes]; 3], [o]: [&mut [Lanes]; 1]) {
    for_each(shape.split(o, shape.span()).into_iter(), shape.work(2), |o| {
        let qkv = qkv.map(|t| shape.of_head(t, o.images.start, o.panels.start));
        dispatch(Forward { shape, qkv, o });
    });
}

/// Writes the gradients `[dq, dk, dv]` from `[q, k, v]` and the gradient `d_o` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward(shape: &Attention, qkv: [&[f32]; 3], d_o: &[f32], d_qkv: [&mut [f32]; 3]) {
    let inputs = [qkv[0], qkv[1], qkv[2], d_o];
    let lengths = inputs.map(<[f32]>::len).into_iter().chain(d_qkv.iter().map(|d| d.len()));
    for (name, len) in ["q", "k", "v", "do", "dq", "dk", "dv"].into_iter().zip(lengths) {
        shape.check(name, len);
    }
    if d_o.is_empty() {
        return;
    }
    if shape.is_whole() {
        gradients_of_vectors(shape, inputs.map(vectors), d_qkv.map(vectors_mut));
    } else {
        on_heads_apart(shape, inputs, d_qkv, gradients_of_vectors);
    }
}

/// [`backward`] of heads that are whole vectors.
fn gradients_of_vectors(shape: &Attention, inputs: [&[Lanes]; 4], [dq, dk, dv]: [&mut [Lanes]; 3]) {
    let (length, span) = (shape.length, shape.span());
    let inputs = |of: &Block| inputs.map(|t| shape.of_head(t, of.images.start, of.panels.start));
    if span >= length {
        let [dq, dk, dv] = [dq, dk, dv].map(|d| shape.split(d, length).into_iter());
        for_each(dq.zip(dk.zip(dv)), shape.work(5), |(dq, (dk, dv))| {
            let (inputs, known) = (inputs(&dq), Statistics::Unknown);
            dispatch(Backward {
                shape,
                inputs,
                queries: 0..length,
                keys: 0..length,
                known,
                dq: Some(dq),
                dk_dv: Some([dk, dv]),
            });
        });
        return;
    }
    // Fewer heads than threads: spans of queries first, which leave what spans of keys need. Each sum is the same.
    let blocks = length.div_ceil(BLOCK);
    let mut rows = vec![[[[0.0; LANES]; BLOCK / LANES]; 3]; shape.batch * shape.heads * blocks];
    let of_span = rows.chunks_mut(blocks).flat_map(|of_head| of_head.chunks_mut(span / BLOCK));
    for_each(shape.split(dq, span).into_iter().zip(of_span), shape.work(3), |(dq, found)| {
        let (inputs, queries) = (inputs(&dq), dq.pixels.clone());
        let known = Statistics::Wanted(found);
        dispatch(Backward { shape, inputs, queries, keys: 0..length, known, dq: Some(dq), dk_dv: None });
    });
    let [dk, dv] = [dk, dv].map(|d| shape.split(d, span).into_iter());
    for_each(dk.zip(dv), shape.work(4), |(dk, dv)| {
        let (inputs, keys) = (inputs(&dk), dk.pixels.clone());
        let head = dk.images.start * shape.heads + dk.panels.start / panels(shape.dim);
        let known = Statistics::Known(&rows[head * blocks..][..blocks]);
        dispatch(Backward { shape, inputs, queries: 0..length, keys, known, dq: None, dk_dv: Some([dk, dv]) });
    });
}

/// Some queries of a head.
struct Forward<'a> {
    shape: &'a Attention,
    qkv: [&'a [Lanes]; 3],
    o: Block<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, qkv: [q, k, v], mut o } = self;
        let (depth, keys, dims) = (padded(dim), padded(length), panels(dim));
        let mut k_t = Scratch::new(panels(length) * depth);
        let mut v_p = Scratch::new(dims * keys);
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(panels(length) * BLOCK);
        let mut o_p = Scratch::new(dims * BLOCK);
        transpose(s, k, length, 0..length, 1.0, &mut k_t);
        copy(s, v, length, 0..length, 1.0, &mut v_p);
        let first = o.pixels.start;
        for block in steps(o.pixels.len(), BLOCK) {
            let rows = block.len().next_multiple_of(4);
            let (q_p, o_p) = (&mut q_p[..dims * rows], &mut o_p[..dims * rows]);
            let scores = &mut scores[..panels(length) * rows];
            copy(s, q, length, first + block.start..first + block.end, scale * LOG2_E, q_p);
            gemm::nn(s, q_p, &k_t, scores, rows, depth, false);
            hide(s, scores, rows, length);
            let largest = largest(s, scores, rows);
            let sums = exponentials(s, scores, rows, &largest);
            gemm::nn(s, scores, &v_p, o_p, rows, keys, false);
            let inverse = inverses(s, &sums);
            store(s, o_p, rows, Factor::Rows(&inverse), &mut o.parts, block);
        }
    }
}

/// What is known of the rows of scores, block by block: the largest, the inverse of the sum of exponentials, and the
/// mean of the gradient.
enum Statistics<'a> {
    Unknown,
    /// Unknown, to be kept.
    Wanted(&'a mut [[Rows; 3]]),
    Known(&'a [[Rows; 3]]),
}

/// Some queries and keys of a head: `inputs` are `[q, k, v, do]`. With `dq`, the keys must be all; with `dk_dv`, the
/// queries must be all.
struct Backward<'a> {
    shape: &'a Attention,
    inputs: [&'a [Lanes]; 4],
    queries: Range<usize>,
    keys: Range<usize>,
    known: Statistics<'a>,
    dq: Option<Block<'a>>,
    dk_dv: Option<[Block<'a>; 2]>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `P = softmax(scale · q kᵀ)`: `dv = Pᵀ do`, `dP = do vᵀ`, `dS = P ∘ (dP − Σ P ∘ dP)` (the sum over each
    /// row), `dq = scale · dS k`, `dk = scale · dSᵀ q` [Dao22, Appendix B.2].
    ///
    /// Scores are in units of `ln 2`, so `q` holds a factor `log₂ e`, and `dP` takes its inverse.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, inputs, queries, keys, mut known, mut dq, dk_dv } =
            self;
        let [q, k, v, d_o] = inputs;
        let (depth, dims) = (padded(dim), panels(dim));
        let (all_keys, key_panels) = (padded(keys.len()), panels(keys.len()));
        let mut k_p = Scratch::new(if dq.is_some() { dims * all_keys } else { 0 });
        let mut k_t = Scratch::new(key_panels * depth);
        let mut v_t = Scratch::new(key_panels * depth);
        let sums = if dk_dv.is_some() { dims * all_keys } else { 0 };
        let (mut dk_p, mut dv_p) = (Scratch::zeroed(sums), Scratch::zeroed(sums));
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut do_p = Scratch::new(dims * BLOCK);
        let mut dq_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(key_panels * BLOCK);
        let mut d_scores = Scratch::new(key_panels * BLOCK);
        if dq.is_some() {
            copy(s, k, length, keys.clone(), 1.0, &mut k_p);
        }
        transpose(s, k, length, keys.clone(), 1.0, &mut k_t);
        transpose(s, v, length, keys.clone(), LN_2, &mut v_t);
        for (i, block) in steps(queries.len(), BLOCK).enumerate() {
            let rows = block.len().next_multiple_of(4);
            let (q_p, do_p, dq_p) = (&mut q_p[..dims * rows], &mut do_p[..dims * rows], &mut dq_p[..dims * rows]);
            let (scores, d_scores) = (&mut scores[..key_panels * rows], &mut d_scores[..key_panels * rows]);
            let pixels = queries.start + block.start..queries.start + block.end;
            copy(s, q, length, pixels.clone(), scale * LOG2_E, q_p);
            copy(s, d_o, length, pixels, 1.0, do_p);
            gemm::nn(s, q_p, &k_t, scores, rows, depth, false);
            gemm::nn(s, do_p, &v_t, d_scores, rows, depth, false);
            hide(s, scores, rows, keys.len());
            let statistics = if let Statistics::Known(known) = known {
                exponentials(s, scores, rows, &known[i][0]);
                known[i]
            } else {
                let largest = largest(s, scores, rows);
                let [sums, products] = exponentials_and_products(s, scores, d_scores, rows, &largest);
                let inverse = inverses(s, &sums);
                [largest, inverse, multiply(s, &products, &inverse)]
            };
            if let Statistics::Wanted(found) = &mut known {
                found[i] = statistics;
            }
            let [_, inverse, mean] = statistics;
            score_gradients(s, scores, d_scores, rows, [&inverse, &mean]);
            if let Some(dq) = &mut dq {
                gemm::nn(s, d_scores, &k_p, dq_p, rows, all_keys, false);
                store(s, dq_p, rows, Factor::All(scale * LOG2_E), &mut dq.parts, block);
            }
            if dk_dv.is_some() {
                multiply_rows(s, do_p, rows, &inverse);
                gemm::tn(s, d_scores, q_p, &mut dk_p, rows, all_keys);
                gemm::tn(s, scores, do_p, &mut dv_p, rows, all_keys);
            }
        }
        if let Some([mut dk, mut dv]) = dk_dv {
            store(s, &dk_p, all_keys, Factor::All(1.0), &mut dk.parts, 0..keys.len());
            store(s, &dv_p, all_keys, Factor::All(1.0), &mut dv.parts, 0..keys.len());
        }
    }
}

/// Copies pixels of a head, multiplied by `factor`. The pixels of `to` beyond them become zero.
#[inline(always)]
fn copy<S: Simd>(s: S, head: &[Lanes], length: usize, pixels: Range<usize>, factor: f32, to: &mut [Lanes]) {
    let rows = to.len() * length / head.len();
    let factor = s.splat(factor);
    for (from, to) in head.chunks_exact(length).zip(to.chunks_exact_mut(rows)) {
        let (to, beyond) = to.split_at_mut(pixels.len());
        for (to, from) in to.iter_mut().zip(&from[pixels.clone()]) {
            s.store(s.mul(s.load(from), factor), to);
        }
        beyond.fill([0.0; LANES]);
    }
}

/// Transposes pixels of a head, multiplied by `factor`: they become columns, `[panel of pixels][channel]`.
#[inline(always)]
fn transpose<S: Simd>(s: S, head: &[Lanes], length: usize, pixels: Range<usize>, factor: f32, to: &mut [Lanes]) {
    let depth = head.len() / length * LANES;
    let factor = s.splat(factor);
    for (i, to) in to.chunks_exact_mut(depth).enumerate() {
        for (from, to) in head.chunks_exact(length).zip(to.chunks_exact_mut(LANES)) {
            let mut block = [s.zero(); LANES];
            for (row, from) in block.iter_mut().zip(&from[pixels.clone()][i * LANES..]) {
                *row = s.mul(s.load(from), factor);
            }
            for (to, v) in to.iter_mut().zip(s.transpose(block)) {
                s.store(v, to);
            }
        }
    }
}

/// What rows are multiplied by.
#[derive(Clone, Copy)]
enum Factor<'a> {
    All(f32),
    Rows(&'a Rows),
}

/// Writes rows to pixels of a head.
#[inline(always)]
fn store<S: Simd>(s: S, from: &[Lanes], rows: usize, by: Factor, parts: &mut [&mut [Lanes]], pixels: Range<usize>) {
    for (from, to) in from.chunks_exact(rows).zip(parts) {
        for (r, (from, to)) in from.iter().zip(&mut to[pixels.clone()]).enumerate() {
            let factor = match by {
                Factor::All(factor) => s.splat(factor),
                Factor::Rows(factors) => s.splat(factors[r / LANES][r % LANES]),
            };
            s.store(s.mul(s.load(from), factor), to);
        }
    }
}
