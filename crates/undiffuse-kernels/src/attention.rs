//! Scaled dot-product attention (Vaswani et al. 2017, Eq. 1) between the pixels of maps, forward and backward.
//!
//! `o = softmax(scale · q kᵀ) v` for every head, without keeping the `length × length` matrix: a block of queries at a
//! time, so a thread needs `O(length · (dim + block))` memory. The queries and keys of a head are its `dim` channels, one
//! a pixel.
//!
//! A head works on whole vectors. Heads that begin within one are moved apart first and back together at the end.

use crate::blocks::{Block, Extent, for_each, split, steps};
use crate::gemm;
use crate::map::{from_planes, len, to_planes, vectors, vectors_mut};
use crate::panel::{padded, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
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

/// Queries at a time. The order of sums over queries does not depend on it.
const BLOCK: usize = 3 * LANES;

/// A number for every query of a block.
type Rows = [Lanes; BLOCK / LANES];

impl Attention {
    fn check(&self, name: &str, length: usize) {
        let expected = len(self.batch, self.heads * self.dim, self.length);
        assert_eq!(length, expected, "attention: length of {name} for {self:?}");
    }

    /// The same with every head an image of its own, if a head begins within a vector.
    fn apart(&self) -> Option<Self> {
        let within = self.heads > 1 && !self.dim.is_multiple_of(LANES);
        within.then_some(Self { batch: self.batch * self.heads, heads: 1, ..*self })
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

    /// A map of heads apart from one of heads side by side.
    fn part(&self, apart: &Self, from: &[f32], planes: &mut [f32], to: &mut [f32]) {
        to_planes(from, self.heads * self.dim, self.length, planes);
        from_planes(planes, apart.dim, apart.length, to);
    }

    /// The inverse of [`Self::part`].
    fn join(&self, apart: &Self, from: &[f32], planes: &mut [f32], to: &mut [f32]) {
        to_planes(from, apart.dim, apart.length, planes);
        from_planes(planes, self.heads * self.dim, self.length, to);
    }

    /// Memory for [`Self::part`] and [`Self::join`], and for a map of heads apart.
    fn room(&self) -> (Scratch, impl Fn() -> Scratch) {
        let vectors = self.batch * self.heads * panels(self.dim) * self.length;
        (Scratch::new((self.batch * self.heads * self.dim * self.length).div_ceil(LANES)), move || Scratch::new(vectors))
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
    let Some(apart) = shape.apart() else {
        return of_vectors(shape, qkv.map(vectors), vectors_mut(o));
    };
    let (mut planes, room) = apart.room();
    let planes = &mut planes.as_flattened_mut()[..shape.batch * shape.heads * shape.dim * shape.length];
    let parts = qkv.map(|from| {
        let mut to = room();
        shape.part(&apart, from, planes, to.as_flattened_mut());
        to
    });
    let mut part = room();
    of_vectors(&apart, parts.each_ref().map(|t| &**t), &mut part);
    shape.join(&apart, part.as_flattened(), planes, o);
}

/// [`forward`] of heads that are whole vectors.
fn of_vectors(shape: &Attention, qkv: [&[Lanes]; 3], o: &mut [Lanes]) {
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
    let Some(apart) = shape.apart() else {
        return gradients_of_vectors(shape, inputs.map(vectors), d_qkv.map(vectors_mut));
    };
    let (mut planes, room) = apart.room();
    let planes = &mut planes.as_flattened_mut()[..shape.batch * shape.heads * shape.dim * shape.length];
    let parts = inputs.map(|from| {
        let mut to = room();
        shape.part(&apart, from, planes, to.as_flattened_mut());
        to
    });
    let mut d_parts = [room(), room(), room()];
    gradients_of_vectors(&apart, parts.each_ref().map(|t| &**t), d_parts.each_mut().map(|t| &mut **t));
    for (from, to) in d_parts.iter().zip(d_qkv) {
        shape.join(&apart, from.as_flattened(), planes, to);
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
            dispatch(Backward { shape, inputs, queries: 0..length, keys: 0..length, known, dq: Some(dq), dk_dv: Some([dk, dv]) });
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
    /// row), `dq = scale · dS k`, `dk = scale · dSᵀ q` (Dao et al. 2022, App. B.2).
    ///
    /// Scores are in units of `ln 2`, so `q` holds a factor `log₂ e`, and `dP` takes its inverse.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: &Attention { length, dim, scale, .. }, inputs, queries, keys, mut known, mut dq, dk_dv } = self;
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
                [largest, inverse, products_of(s, &products, &inverse)]
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

/// Multiplies every row by its factor.
#[inline(always)]
fn multiply_rows<S: Simd>(s: S, x: &mut [Lanes], rows: usize, factors: &Rows) {
    for x in x.chunks_exact_mut(rows) {
        for (x, factor) in x.iter_mut().zip(factors.as_flattened()) {
            s.store(s.mul(s.load(x), s.splat(*factor)), x);
        }
    }
}

/// Makes the scores of columns beyond the last key the least of all.
#[inline(always)]
fn hide<S: Simd>(s: S, scores: &mut [Lanes], rows: usize, keys: usize) {
    if !keys.is_multiple_of(LANES) {
        let mut least = [0.0; LANES];
        least[keys % LANES..].fill(f32::NEG_INFINITY);
        let least = s.load(&least);
        for row in &mut scores[keys / LANES * rows..] {
            s.store(s.add(s.load(row), least), row);
        }
    }
}

/// Rows that are worked on side by side.
const TILE: usize = 4;

/// The largest score of every row.
#[inline(always)]
fn largest<S: Simd>(s: S, scores: &[Lanes], rows: usize) -> Rows {
    let mut lanes = [[0.0; LANES]; BLOCK];
    for r in (0..rows).step_by(TILE) {
        let mut largest = [s.splat(f32::NEG_INFINITY); TILE];
        for panel in scores.chunks_exact(rows) {
            let tile: &[Lanes; TILE] = panel[r..].first_chunk().expect("rows are a multiple of the tile");
            for i in 0..TILE {
                largest[i] = s.max(s.load(&tile[i]), largest[i]);
            }
        }
        for i in 0..TILE {
            s.store(largest[i], &mut lanes[r + i]);
        }
    }
    let mut out = [[0.0; LANES]; BLOCK / LANES];
    for (out, lanes) in out.iter_mut().zip(lanes.as_chunks().0) {
        let mut v = turned(s, lanes);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                v[i] = s.max(v[i], v[i + half]);
            }
        }
        s.store(v[0], out);
    }
    out
}

/// The sum of the lanes of every row.
#[inline(always)]
fn sums<S: Simd>(s: S, lanes: &[Lanes; BLOCK]) -> Rows {
    let mut out = [[0.0; LANES]; BLOCK / LANES];
    for (out, lanes) in out.iter_mut().zip(lanes.as_chunks().0) {
        let mut v = turned(s, lanes);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                v[i] = s.add(v[i], v[i + half]);
            }
        }
        s.store(v[0], out);
    }
    out
}

/// The transpose.
#[inline(always)]
fn turned<S: Simd>(s: S, lanes: &[Lanes; LANES]) -> [S::V; LANES] {
    let mut rows = [s.zero(); LANES];
    for (row, lanes) in rows.iter_mut().zip(lanes) {
        *row = s.load(lanes);
    }
    s.transpose(rows)
}

/// `1 / x`, elementwise.
#[inline(always)]
fn inverses<S: Simd>(s: S, x: &Rows) -> Rows {
    x.map(|x| s.lanes(s.div(s.splat(1.0), s.load(&x))))
}

/// `a · b`, elementwise.
#[inline(always)]
fn products_of<S: Simd>(s: S, a: &Rows, b: &Rows) -> Rows {
    let mut out = *a;
    for (out, b) in out.iter_mut().zip(b) {
        s.store(s.mul(s.load(out), s.load(b)), out);
    }
    out
}

/// Turns scores into `2^(score − largest)` and returns the sum of every row.
#[inline(always)]
fn exponentials<S: Simd>(s: S, scores: &mut [Lanes], rows: usize, largest: &Rows) -> Rows {
    let mut lanes = [[0.0; LANES]; BLOCK];
    for r in (0..rows).step_by(TILE) {
        let largest = tile_of(s, largest, r);
        let mut sum = [s.zero(); TILE];
        for panel in scores.chunks_exact_mut(rows) {
            let tile: &mut [Lanes; TILE] = panel[r..].first_chunk_mut().expect("rows are a multiple of the tile");
            for i in 0..TILE {
                let e = power_of_two(s, s.sub(s.load(&tile[i]), largest[i]));
                sum[i] = s.add(sum[i], e);
                s.store(e, &mut tile[i]);
            }
        }
        for i in 0..TILE {
            s.store(sum[i], &mut lanes[r + i]);
        }
    }
    sums(s, &lanes)
}

/// As [`exponentials`], and returns the sum of their products with `d` too.
#[inline(always)]
fn exponentials_and_products<S: Simd>(
    s: S,
    scores: &mut [Lanes],
    d: &[Lanes],
    rows: usize,
    largest: &Rows,
) -> [Rows; 2] {
    let mut lanes = [[[0.0; LANES]; BLOCK]; 2];
    for r in (0..rows).step_by(TILE) {
        let largest = tile_of(s, largest, r);
        let (mut sum, mut product) = ([s.zero(); TILE], [s.zero(); TILE]);
        for (panel, d) in scores.chunks_exact_mut(rows).zip(d.chunks_exact(rows)) {
            let tile: &mut [Lanes; TILE] = panel[r..].first_chunk_mut().expect("rows are a multiple of the tile");
            let d: &[Lanes; TILE] = d[r..].first_chunk().expect("as many rows");
            for i in 0..TILE {
                let e = power_of_two(s, s.sub(s.load(&tile[i]), largest[i]));
                sum[i] = s.add(sum[i], e);
                product[i] = s.mul_add(e, s.load(&d[i]), product[i]);
                s.store(e, &mut tile[i]);
            }
        }
        for i in 0..TILE {
            s.store(sum[i], &mut lanes[0][r + i]);
            s.store(product[i], &mut lanes[1][r + i]);
        }
    }
    [sums(s, &lanes[0]), sums(s, &lanes[1])]
}

/// Turns `d` into `e · inverse · (d − mean)`.
#[inline(always)]
fn score_gradients<S: Simd>(s: S, e: &[Lanes], d: &mut [Lanes], rows: usize, [inverse, mean]: [&Rows; 2]) {
    for r in (0..rows).step_by(TILE) {
        let (inverse, mean) = (tile_of(s, inverse, r), tile_of(s, mean, r));
        for (e, d) in e.chunks_exact(rows).zip(d.chunks_exact_mut(rows)) {
            let e: &[Lanes; TILE] = e[r..].first_chunk().expect("rows are a multiple of the tile");
            let d: &mut [Lanes; TILE] = d[r..].first_chunk_mut().expect("as many rows");
            for i in 0..TILE {
                let p = s.mul(s.load(&e[i]), inverse[i]);
                s.store(s.mul(p, s.sub(s.load(&d[i]), mean[i])), &mut d[i]);
            }
        }
    }
}

/// The numbers of the rows of a tile, each in all lanes.
#[inline(always)]
fn tile_of<S: Simd>(s: S, rows: &Rows, first: usize) -> [S::V; TILE] {
    let mut out = [s.zero(); TILE];
    for i in 0..TILE {
        out[i] = s.splat(rows[(first + i) / LANES][(first + i) % LANES]);
    }
    out
}

/// `2ˣ` for `x` in `[−87, 0]`; below, the value at `−87`. Largest relative error `2e-7`.
///
/// With `x = n + r`, whole `n` and `|r| ≤ 1/2`, it is `2ⁿ` times the polynomial of Cephes' `exp2f` [Moshier, Cephes
/// Math Library 2.2].
#[inline(always)]
fn power_of_two<S: Simd>(s: S, x: S::V) -> S::V {
    // Nothing below is left beside a sum of at least 1; stopping there also keeps the products that follow away from
    // denormal numbers, which are slow. As the second argument of `max`, a NaN passes through.
    let x = s.max(s.splat(-87.0), x);
    // Adding 1.5 · 2²³ leaves no bits for a fraction: rounding to the nearest whole number.
    let round = s.splat(12_582_912.0);
    let n = s.sub(s.add(x, round), round);
    let r = s.sub(x, n);
    let mut p = s.splat(1.535_336_2e-4);
    for c in [1.339_887_4e-3, 9.618_437e-3, 5.550_332_4e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0] {
        p = s.mul_add(p, r, s.splat(c));
    }
    s.mul(p, s.pow2(n))
}
