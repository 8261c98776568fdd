//! Nearest neighbours, exactly, in blocks of matrix products.
//!
//! `‖q − s‖² = ‖q‖² + ‖s‖² − 2·q·s` is quick in `f32` and inexact where it matters, at small distances. So the product only
//! rules out: with the rounding error of the dot product bounded by `d·u·‖q‖·‖s‖` \[Higham02\] (`d` numbers in a row,
//! `u = 2⁻²⁴`), a row whose distance is surely above the k-th best of all rows before it is dropped. What remains, little
//! more than `k` rows, is measured in `f64`. Rows are first centred on the mean of the set, which shrinks the norms in the bound.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use undiffuse_kernels::linear::{self, Linear};

use crate::Rows;

/// Queries whose products are in memory at a time.
const QUERIES: usize = 768;
/// Rows of the set whose products are in memory at a time.
const SET: usize = 1024;
/// Rows that one comparison may rule out.
const SPAN: usize = 64;
/// Rows beyond the k nearest that stay unmeasured.
const UNCERTAIN: usize = 16;
/// Roundings besides those of the dot product: of centred rows, norms, and the sum of the three terms.
const MORE_ROUNDINGS: f32 = 16.0;

/// A row of a set, as seen from another row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its place in the set.
    pub index: usize,
    /// Euclidean distance, 0 for an equal row.
    pub distance: f64,
}

/// For every query the `k` nearest rows of `among` (all, if there are fewer), nearest first; of equally distant ones that of
/// the lower index.
///
/// Distances are sums in `f64`, so neither blocks nor threads show in them. Besides the arguments and the result it takes a
/// few megabytes, however many rows there are. Rows should be finite: one that is not has no meaningful place.
///
/// # Panics
/// If the two differ in dimensions.
pub fn nearest(queries: Rows, among: Rows, k: usize) -> Vec<Vec<Neighbour>> {
    nearest_where(queries, among, k, |_, _| true)
}

/// For every row the `k` nearest of all *other* rows, as [`nearest`].
pub fn nearest_others(rows: Rows, k: usize) -> Vec<Vec<Neighbour>> {
    nearest_where(rows, rows, k, |query, index| query != index)
}

/// Euclidean distance of two rows: a sum in `f64`.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    squared(a, b).sqrt()
}

/// As [`nearest`], among the rows for which `keep(query, index)` is true. It is asked of near rows only, in no order.
///
/// # Panics
/// If the two differ in dimensions.
pub fn nearest_where(
    queries: Rows,
    among: Rows,
    k: usize,
    keep: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<Vec<Neighbour>> {
    assert_eq!(queries.dims(), among.dims(), "neighbours: queries and set differ in dimensions");
    if k == 0 || among.is_empty() {
        return vec![Vec::new(); queries.len()];
    }
    let dims = among.dims();
    let slack = (dims as f32 + MORE_ROUNDINGS) * (f32::EPSILON / 2.0);
    let mean = mean(among);
    let mut found = Vec::with_capacity(queries.len());
    let mut products = vec![0.0; QUERIES.min(queries.len()) * SET.min(among.len())];
    for first_query in (0..queries.len()).step_by(QUERIES) {
        let asked = block(queries, first_query, QUERIES);
        let q = Centred::new(asked, &mean);
        let mut shortlists: Vec<_> = (0..asked.len()).map(|i| Shortlist::new(asked.row(i), among, k)).collect();
        for first in (0..among.len()).step_by(SET) {
            let s = Centred::new(block(among, first, SET), &mean);
            let products = &mut products[..q.norms.len() * s.norms.len()];
            let shape = Linear { rows: q.norms.len(), c_in: dims, c_out: s.norms.len() };
            linear::forward(&shape, &q.values, &s.values, None, products);
            let rows = products.par_chunks(s.norms.len()).zip(&q.norms).zip(&mut shortlists).enumerate();
            rows.for_each(|(i, ((products, &norm), shortlist))| {
                shortlist.consider(first, products, norm, &s.norms, slack, |index| keep(first_query + i, index));
            });
        }
        found.par_extend(shortlists.into_par_iter().map(Shortlist::finish));
    }
    found
}

fn block(rows: Rows, first: usize, most: usize) -> Rows {
    let last = rows.len().min(first + most);
    Rows::new(&rows.values()[first * rows.dims()..last * rows.dims()], rows.dims())
}

fn mean(rows: Rows) -> Vec<f64> {
    let mut mean = vec![0.0; rows.dims()];
    for row in rows.iter() {
        mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x as f64);
    }
    mean.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
    mean
}

/// Rows less a mean, and their squared norms.
struct Centred {
    values: Vec<f32>,
    norms: Vec<f32>,
}

impl Centred {
    fn new(rows: Rows, mean: &[f64]) -> Self {
        let mut values = vec![0.0; rows.values().len()];
        let pairs = values.par_chunks_mut(rows.dims()).zip(rows.values().par_chunks(rows.dims()));
        let norm = |(to, from): (&mut [f32], &[f32])| {
            to.iter_mut().zip(from).zip(mean).for_each(|((to, &x), &mean)| *to = (x as f64 - mean) as f32);
            to.iter().map(|&x| x as f64 * x as f64).sum::<f64>() as f32
        };
        let norms = pairs.map(norm).collect();
        Self { values, norms }
    }
}

/// What may yet be among a query's `k` nearest.
struct Shortlist<'a> {
    query: &'a [f32],
    among: Rows<'a>,
    k: usize,
    candidates: Vec<Candidate>,
    /// No squared distance as large as this can enter any more: `k` rows of lower index are at most as far.
    limit: f64,
}

#[derive(Clone, Copy)]
struct Candidate {
    index: usize,
    /// Bounds of the squared distance; equal once it was measured.
    low: f64,
    high: f64,
}

impl<'a> Shortlist<'a> {
    fn new(query: &'a [f32], among: Rows<'a>, k: usize) -> Self {
        Self { query, among, k, candidates: Vec::with_capacity(Self::room(k)), limit: f64::INFINITY }
    }

    fn room(k: usize) -> usize {
        2 * (k + UNCERTAIN)
    }

    /// Takes up rows `first…` of the set, whose products with the query and whose squared norms are given.
    fn consider(
        &mut self,
        first: usize,
        products: &[f32],
        norm: f32,
        norms: &[f32],
        slack: f32,
        keep: impl Fn(usize) -> bool,
    ) {
        for (span, (products, norms)) in products.chunks(SPAN).zip(norms.chunks(SPAN)).enumerate() {
            let limit = self.limit as f32;
            let low = |product: f32, other: f32| (norm + other) * (1.0 - slack) - 2.0 * product;
            // A bound that overflowed rules nothing out.
            let beyond = |low: f32| (low > limit) & (low < f32::INFINITY);
            if products.iter().zip(norms).fold(true, |all, (&p, &s)| all & beyond(low(p, s))) {
                continue;
            }
            for (i, (&product, &other)) in products.iter().zip(norms).enumerate() {
                let index = first + span * SPAN + i;
                if beyond(low(product, other)) || !keep(index) {
                    continue;
                }
                let sum = norm as f64 + other as f64;
                let (between, off) = (sum - 2.0 * product as f64, sum * slack as f64);
                let bounded = between.is_finite();
                self.add(Candidate {
                    index,
                    low: if bounded { (between - off).max(0.0) } else { 0.0 },
                    high: if bounded { between + off } else { f64::INFINITY },
                });
            }
        }
    }

    fn add(&mut self, candidate: Candidate) {
        if candidate.low >= self.limit {
            return;
        }
        self.candidates.push(candidate);
        if self.candidates.len() == Self::room(self.k) {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let by_high = |a: &Candidate, b: &Candidate| a.high.total_cmp(&b.high);
        self.limit = self.candidates.select_nth_unstable_by(self.k - 1, by_high).1.high;
        self.candidates.retain(|candidate| candidate.low <= self.limit);
        if self.candidates.len() > self.k + UNCERTAIN {
            self.measure();
            self.limit = self.candidates[self.k - 1].high;
        }
    }

    /// Keeps the `k` nearest, in order.
    fn measure(&mut self) {
        for candidate in self.candidates.iter_mut().filter(|c| c.low != c.high) {
            let squared = squared(self.query, self.among.row(candidate.index));
            (candidate.low, candidate.high) = (squared, squared);
        }
        self.candidates.sort_unstable_by(|a, b| a.high.total_cmp(&b.high).then(a.index.cmp(&b.index)));
        self.candidates.truncate(self.k);
    }

    fn finish(mut self) -> Vec<Neighbour> {
        self.measure();
        self.candidates.iter().map(|c| Neighbour { index: c.index, distance: c.high.sqrt() }).collect()
    }
}

/// In eight sums side by side, for speed.
fn squared(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let square = |a: f32, b: f32| (a as f64 - b as f64).powi(2);
    let mut sums = [0.0; LANES];
    let (whole_a, whole_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = whole_a.remainder().iter().zip(whole_b.remainder()).map(|(&a, &b)| square(a, b)).sum();
    for (a, b) in whole_a.zip(whole_b) {
        (0..LANES).for_each(|i| sums[i] += square(a[i], b[i]));
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(queries: Rows, among: Rows, k: usize, leave_own: bool) -> Vec<Vec<Neighbour>> {
        let search = |(i, query): (usize, &[f32])| {
            let others = among.iter().enumerate().filter(|(j, _)| !leave_own || *j != i);
            let distance = |(index, row): (usize, &[f32])| Neighbour {
                index,
                distance: query.iter().zip(row).map(|(&a, &b)| (a as f64 - b as f64).powi(2)).sum::<f64>().sqrt(),
            };
            let mut all: Vec<_> = others.map(distance).collect();
            all.sort_by(|a, b| a.distance.total_cmp(&b.distance));
            all.truncate(k);
            all
        };
        queries.iter().enumerate().map(search).collect()
    }

    fn check(queries: Rows, among: Rows, k: usize) {
        for (found, expected) in [
            (nearest(queries, among, k), naive(queries, among, k, false)),
            (nearest_others(among, k), naive(among, among, k, true)),
        ] {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert_eq!(found.index, expected.index, "{found:?} for {expected:?}");
                assert!((found.distance - expected.distance).abs() <= 1e-12 * expected.distance);
            }
            assert!(found.iter().zip(&expected).all(|(found, expected)| found.len() == expected.len()));
        }
    }

    /// Whole numbers make many ties and equal rows; an offset and a small spread make `f32` products useless.
    fn sets() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, usize, usize)> {
        (1usize..20, 0usize..12, 1usize..300, 0usize..40, 1i32..50, prop::bool::ANY).prop_flat_map(
            |(dims, queries, set, k, levels, offset)| {
                let value = (0..levels).prop_map(move |x| if offset { 1000.0 + x as f32 / 512.0 } else { x as f32 });
                let rows = |n: usize| prop::collection::vec(value.clone(), n * dims);
                (rows(queries), rows(set), Just(dims), Just(k))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_a_plain_search((queries, set, dims, k) in sets()) {
            check(Rows::new(&queries, dims), Rows::new(&set, dims), k);
        }
    }

    fn noise(n: usize, dims: usize, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; n * dims];
        undiffuse_math::noise::normal(seed, 0, 0, &mut values);
        values
    }

    #[test]
    fn blocks_join() {
        let (queries, set) = (noise(QUERIES + 3, 9, 0), noise(2 * SET + SPAN + 1, 9, 1));
        check(Rows::new(&queries, 9), Rows::new(&set, 9), 7);
    }

    #[test]
    fn rows_that_hardly_differ_are_told_apart() {
        // Spreads of 1e-4 about two far centres: products in f32 are wrong by more than the squared distances.
        let mut set = noise(600, 50, 2);
        for (i, row) in set.chunks_mut(50).enumerate() {
            row.iter_mut().for_each(|x| *x = *x * 1e-4 + if i % 2 == 0 { 10.0 } else { -10.0 });
        }
        check(Rows::new(&set[..1000], 50), Rows::new(&set, 50), 5);
    }

    #[test]
    fn products_that_overflow_are_measured() {
        let set: Vec<f32> = noise(100, 4, 3).iter().map(|x| x * 1e25).collect();
        check(Rows::new(&set[..40], 4), Rows::new(&set, 4), 3);
    }

    #[test]
    fn threads_do_not_show() {
        let (queries, set) = (noise(100, 33, 4), noise(3000, 33, 5));
        let search = || nearest(Rows::new(&queries, 33), Rows::new(&set, 33), 20);
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(search);
        assert_eq!(on(1), on(3));
    }
}
