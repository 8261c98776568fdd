//! Scaled dot-product attention [Vaswani17, Eq. 1] between the pixels of maps, or between tokens, forward and backward.
//!
//! `o = softmax(scale · q kᵀ + mask) v` for every head, without keeping the `queries × keys` matrix: a block of queries
//! meets a block of keys at a time, and what was summed over earlier ones shrinks when a larger score is found
//! [Milakov18, Algorithm 3]. So a thread needs `O(keys · dim)` memory.
//!
//! A head works on whole vectors, `[channels / 16][position][16]`. Tokens, and heads that begin within a vector, are
//! brought into that form image by image.

mod heads;
mod rows;

use crate::blocks::{Block, Extent, for_each, split, steps};
use crate::gemm;
use crate::map::{len, vectors, vectors_mut};
use crate::panel::{padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use heads::on_heads_apart;
use rows::{
    BLOCK, Rows, exponentials, exponentials_and_products, hide, hide_later, inverses, larger, largest, lift, multiply,
    multiply_rows, score_gradients, shrink,
};
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// How queries, keys and values lie; the channels of a head lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Maps of `heads · dim` channels: a pixel is a position ([`crate::map`]).
    Maps,
    /// `[image][position][heads · dim]`.
    Tokens,
}

/// Keys that a block of queries meets at a time: a multiple of sixteen. Few enough for the second-level cache.
const KEYS: usize = 1024;

/// What is below it is out of sight, whatever the scores are; as far down as a bias can go and stay finite.
const LEAST: f32 = -1e30;

/// What queries do not look at. The default is nothing: every query sees every key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mask<'a> {
    /// Whether query `i` sees the keys `0..=i` alone.
    pub causal: bool,
    /// Added to all scores of a key, `[image][key]`. What is below -1e30 counts as that: out of sight, unless it is all
    /// that there is.
    pub bias: Option<&'a [f32]>,
}

impl Mask<'_> {
    fn check(&self, shape: &Attention) {
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), shape.batch * shape.keys, "attention: length of the mask's bias for {shape:?}");
        }
    }

    /// The mask of one image, which may be that of all heads.
    fn of_image(self, image: usize, keys: usize) -> Self {
        let several = self.bias.filter(|bias| bias.len() > keys);
        Self { bias: several.map(|bias| &bias[image * keys..][..keys]).or(self.bias), ..self }
    }

    /// Applies it to the scores of rows of queries and a range of keys, and hides what is beyond the last key.
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, scores: &mut [Lanes], rows: usize, first_query: usize, keys: Range<usize>) {
        match self.bias {
            Some(bias) => lift(s, scores, rows, &bias[keys.clone()], LEAST),
            None => hide(s, scores, rows, keys.len()),
        }
        if self.causal {
            hide_later(scores, rows, first_query, keys.start);
        }
    }
}

/// The size of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Images.
    pub batch: usize,
    /// Heads of an image.
    pub heads: usize,
    /// Queries of an image, and outputs.
    pub queries: usize,
    /// Keys of an image, and values.
    pub keys: usize,
    /// Numbers of a query, key or value.
    pub dim: usize,
    /// Multiplies the scores; commonly `1 / √dim`.
    pub scale: f32,
    /// How all tensors lie.
    pub layout: Layout,
}

impl Attention {
    /// Numbers of a tensor of so many positions.
    fn len(&self, positions: usize) -> usize {
        match self.layout {
            Layout::Maps => len(self.batch, self.heads * self.dim, positions),
            Layout::Tokens => self.batch * positions * self.heads * self.dim,
        }
    }

    fn check(&self, name: &str, length: usize, positions: usize) {
        assert_eq!(length, self.len(positions), "attention: length of {name} for {self:?}");
    }

    /// Whether every head begins and ends with a vector.
    fn is_whole(&self) -> bool {
        self.layout == Layout::Maps && (self.heads == 1 || self.dim.is_multiple_of(LANES))
    }

    /// The vectors of a head, `[panel][position]`.
    fn of_head<'a>(&self, map: &'a [Lanes], positions: usize, image: usize, first_panel: usize) -> &'a [Lanes] {
        let panels = panels(self.dim);
        &map[(image * self.heads * panels + first_panel) * positions..][..panels * positions]
    }

    /// Cuts an output into heads, and each into spans of positions.
    fn split<'a>(&self, output: &'a mut [Lanes], positions: usize, span: usize) -> Vec<Block<'a>> {
        let by = Extent { images: 1, panels: panels(self.dim), pixels: span };
        split([output, &mut []], [self.heads * panels(self.dim), 0], positions, by)
    }

    /// Tasks that a head is cut into, as few as give every thread one.
    fn spans(&self) -> usize {
        rayon::current_num_threads().div_ceil(self.batch * self.heads)
    }

    /// Positions that a task takes of a head: a whole number of blocks.
    fn span(&self, positions: usize) -> usize {
        positions.div_ceil(self.spans()).next_multiple_of(BLOCK)
    }

    /// Multiply-adds of so many products of a `queries × keys` matrix.
    fn work(&self, products: usize) -> usize {
        products * self.batch * self.heads * panels(self.dim) * LANES * self.queries * self.keys
    }
}

/// Writes `o = softmax(scale · q kᵀ + mask) v`. `qkv` is `[q, k, v]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Attention, qkv: [&[f32]; 3], mask: Mask, o: &mut [f32]) {
    let Attention { queries, keys, .. } = *shape;
    for ((name, t), positions) in ["q", "k", "v"].into_iter().zip(qkv).zip([queries, keys, keys]) {
        shape.check(name, t.len(), positions);
    }
    shape.check("o", o.len(), queries);
    mask.check(shape);
    if o.is_empty() || keys == 0 {
        o.fill(0.0);
    } else if shape.is_whole() {
        of_vectors(shape, qkv.map(vectors), mask, vectors_mut(o));
    } else {
        let [q, k, v] = qkv;
        on_heads_apart(shape, [(q, queries), (k, keys), (v, keys)], [(o, queries)], |apart, image, qkv, [o]| {
            of_vectors(apart, qkv, mask.of_image(image, keys), o);
        });
    }
}

/// [`forward`] of heads that are whole vectors.
fn of_vectors(shape: &Attention, [q, k, v]: [&[Lanes]; 3], mask: Mask, o: &mut [Lanes]) {
    let span = shape.span(shape.queries);
    for_each(shape.split(o, shape.queries, span).into_iter(), shape.work(2), |o| {
        let of_head = |t, positions| shape.of_head(t, positions, o.images.start, o.panels.start);
        let qkv = [of_head(q, shape.queries), of_head(k, shape.keys), of_head(v, shape.keys)];
        dispatch(Forward { shape, qkv, mask: mask.of_image(o.images.start, shape.keys), o });
    });
}

/// Writes the gradients `[dq, dk, dv]` from `[q, k, v]` and the gradient `d_o` of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward(shape: &Attention, qkv: [&[f32]; 3], mask: Mask, d_o: &[f32], d_qkv: [&mut [f32]; 3]) {
    let Attention { queries, keys, .. } = *shape;
    let positions = [queries, keys, keys, queries, queries, keys, keys];
    let lengths = [qkv[0], qkv[1], qkv[2], d_o].map(<[f32]>::len).into_iter().chain(d_qkv.iter().map(|d| d.len()));
    for ((name, len), positions) in ["q", "k", "v", "do", "dq", "dk", "dv"].into_iter().zip(lengths).zip(positions) {
        shape.check(name, len, positions);
    }
    mask.check(shape);
    let [q, k, v] = qkv;
    let [dq, dk, dv] = d_qkv;
    if d_o.is_empty() || k.is_empty() {
        [dq, dk, dv].into_iter().for_each(|d| d.fill(0.0));
    } else if shape.is_whole() {
        gradients_of_vectors(shape, [q, k, v, d_o].map(vectors), mask, [dq, dk, dv].map(vectors_mut));
    } else {
        let inputs = [(q, queries), (k, keys), (v, keys), (d_o, queries)];
        let outputs = [(dq, queries), (dk, keys), (dv, keys)];
        on_heads_apart(shape, inputs, outputs, |apart, image, inputs, outputs| {
            gradients_of_vectors(apart, inputs, mask.of_image(image, keys), outputs);
        });
    }
}

/// [`backward`] of heads that are whole vectors.
fn gradients_of_vectors(shape: &Attention, [q, k, v, d_o]: [&[Lanes]; 4], mask: Mask, [dq, dk, dv]: [&mut [Lanes]; 3]) {
    let Attention { queries, keys, .. } = *shape;
    let mask = |of: &Block| mask.of_image(of.images.start, keys);
    let inputs = |of: &Block| {
        let of_head = |t, positions| shape.of_head(t, positions, of.images.start, of.panels.start);
        [of_head(q, queries), of_head(k, keys), of_head(v, keys), of_head(d_o, queries)]
    };
    if shape.spans() == 1 {
        let [dk, dv] = [dk, dv].map(|d| shape.split(d, keys, keys).into_iter());
        let dq = shape.split(dq, queries, queries).into_iter();
        for_each(dq.zip(dk.zip(dv)), shape.work(5), |(dq, (dk, dv))| {
            let (inputs, mask, known) = (inputs(&dq), mask(&dq), Statistics::Unknown);
            dispatch(Backward {
                shape,
                inputs,
                mask,
                queries: 0..queries,
                keys: 0..keys,
                known,
                dq: Some(dq),
                dk_dv: Some([dk, dv]),
            });
        });
        return;
    }
    // Fewer heads than threads: spans of queries first, which leave what spans of keys need. Each sum is the same.
    let (blocks, span) = (queries.div_ceil(BLOCK), shape.span(queries));
    let mut rows = vec![[[[0.0; LANES]; BLOCK / LANES]; 3]; shape.batch * shape.heads * blocks];
    let of_span = rows.chunks_mut(blocks).flat_map(|of_head| of_head.chunks_mut(span / BLOCK));
    for_each(shape.split(dq, queries, span).into_iter().zip(of_span), shape.work(3), |(dq, found)| {
        let (inputs, mask, queries) = (inputs(&dq), mask(&dq), dq.pixels.clone());
        let known = Statistics::Wanted(found);
        dispatch(Backward { shape, inputs, mask, queries, keys: 0..keys, known, dq: Some(dq), dk_dv: None });
    });
    let [dk, dv] = [dk, dv].map(|d| shape.split(d, keys, shape.span(keys)).into_iter());
    for_each(dk.zip(dv), shape.work(4), |(dk, dv)| {
        let (inputs, mask, keys) = (inputs(&dk), mask(&dk), dk.pixels.clone());
        let head = dk.images.start * shape.heads + dk.panels.start / panels(shape.dim);
        let known = Statistics::Known(&rows[head * blocks..][..blocks]);
        dispatch(Backward { shape, inputs, mask, queries: 0..queries, keys, known, dq: None, dk_dv: Some([dk, dv]) });
    });
}

/// Some queries of a head.
struct Forward<'a> {
    shape: &'a Attention,
    qkv: [&'a [Lanes]; 3],
    mask: Mask<'a>,
    o: Block<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { queries, keys, dim, scale, .. }, qkv: [q, k, v], mask, mut o } = self;
        let (depth, dims) = (padded(dim), panels(dim));
        let mut k_t = Scratch::new(panels(keys) * depth);
        let mut v_p = Scratch::new(dims * padded(keys));
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(panels(keys.min(KEYS)) * BLOCK);
        let mut o_p = Scratch::new(dims * BLOCK);
        transpose(s, k, keys, 0..keys, 1.0, &mut k_t);
        for met in steps(keys, KEYS) {
            let v_p = &mut v_p[dims * met.start..][..dims * padded(met.len())];
            copy(s, v, keys, met, 1.0, v_p);
        }
        for block in steps(o.pixels.len(), BLOCK) {
            let asking = o.pixels.start + block.start..o.pixels.start + block.end;
            let rows = block.len().next_multiple_of(4);
            let (q_p, o_p) = (&mut q_p[..dims * rows], &mut o_p[..dims * rows]);
            copy(s, q, queries, asking.clone(), scale * LOG2_E, q_p);
            let [mut top, mut sums] = [Rows::default(); 2];
            let seen = if mask.causal { keys.min(asking.end) } else { keys };
            for met in steps(keys, KEYS).take_while(|met| met.start < seen) {
                let later = met.start > 0;
                let scores = &mut scores[..panels(met.len()) * rows];
                let k_t = &k_t[met.start / LANES * depth..][..panels(met.len()) * depth];
                let v_p = &v_p[dims * met.start..][..dims * padded(met.len())];
                gemm::nn(s, q_p, k_t, scores, rows, dim, false);
                mask.apply(s, scores, rows, asking.start, met.clone());
                let of_block = largest(s, scores, rows);
                let largest = if later { larger(s, &of_block, &top) } else { of_block };
                let of_block = exponentials(s, scores, rows, &largest);
                sums = if later { shrink(s, [&top, &largest], o_p, rows, &sums, &of_block) } else { of_block };
                gemm::nn(s, scores, v_p, o_p, rows, padded(met.len()), later);
                top = largest;
            }
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
    mask: Mask<'a>,
    queries: Range<usize>,
    keys: Range<usize>,
    known: Statistics<'a>,
    dq: Option<Block<'a>>,
    dk_dv: Option<[Block<'a>; 2]>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With `P = softmax(scale · q kᵀ + mask)`: `dv = Pᵀ do`, `dP = do vᵀ`, `dS = P ∘ (dP − Σ P ∘ dP)` (the sum over each
    /// row), `dq = scale · dS k`, `dk = scale · dSᵀ q` [Dao22, Appendix B.2].
    ///
    /// Scores are in units of `ln 2`, so `q` holds a factor `log₂ e`, and `dP` takes its inverse.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, inputs, mask, queries, keys, mut known, mut dq, dk_dv } = self;
        let Attention { dim, scale, .. } = *shape;
        let [q, k, v, d_o] = inputs;
        let (depth, dims) = (padded(dim), panels(dim));
        let (all_keys, key_panels) = (padded(keys.len()), panels(keys.len()));
        let mut k_p = Scratch::new(if dq.is_some() { dims * all_keys } else { 0 });
        let mut k_t = Scratch::new(key_panels * depth);
        let mut v_t = Scratch::new(key_panels * depth);
        let sums = if dk_dv.is_some() { dims * all_keys } else { 0 };
        let (mut dk_p, mut dv_p) = (Scratch::new(sums), Scratch::new(sums));
        let mut q_p = Scratch::new(dims * BLOCK);
        let mut do_p = Scratch::new(dims * BLOCK);
        let mut dq_p = Scratch::new(dims * BLOCK);
        let mut scores = Scratch::new(key_panels * BLOCK);
        let mut d_scores = Scratch::new(key_panels * BLOCK);
        if dq.is_some() {
            copy(s, k, shape.keys, keys.clone(), 1.0, &mut k_p);
        }
        transpose(s, k, shape.keys, keys.clone(), 1.0, &mut k_t);
        transpose(s, v, shape.keys, keys.clone(), LN_2, &mut v_t);
        for (i, block) in steps(queries.len(), BLOCK).enumerate() {
            let rows = block.len().next_multiple_of(4);
            let (q_p, do_p, dq_p) = (&mut q_p[..dims * rows], &mut do_p[..dims * rows], &mut dq_p[..dims * rows]);
            let (scores, d_scores) = (&mut scores[..key_panels * rows], &mut d_scores[..key_panels * rows]);
            let pixels = queries.start + block.start..queries.start + block.end;
            copy(s, q, shape.queries, pixels.clone(), scale * LOG2_E, q_p);
            copy(s, d_o, shape.queries, pixels.clone(), 1.0, do_p);
            gemm::nn(s, q_p, &k_t, scores, rows, depth, false);
            gemm::nn(s, do_p, &v_t, d_scores, rows, depth, false);
            mask.apply(s, scores, rows, pixels.start, keys.clone());
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
                gemm::tn(s, d_scores, q_p, &mut dk_p, rows, all_keys, i > 0);
                gemm::tn(s, scores, do_p, &mut dv_p, rows, all_keys, i > 0);
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
