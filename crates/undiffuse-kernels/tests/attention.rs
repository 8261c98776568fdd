//! Attention against its formula in double precision.

mod common;

use common::{assert_close, bits, from_map, numbers, on_threads, pass_at_lower_levels, to_map};
use undiffuse_kernels::attention::{Attention, Layout, Mask, backward, forward};

/// `[o, dq, dk, dv]` of planes `[batch][heads * dim][position]`.
fn reference(s: &Attention, [q, k, v, d_o]: [&[f32]; 4], mask: Mask) -> [Vec<f64>; 4] {
    let d = s.dim;
    let mut out = [q, q, k, v].map(|t| vec![0f64; t.len()]);
    for head in 0..s.batch * s.heads {
        let of = |positions: usize| move |c: usize, i: usize| (head * d + c) * positions + i;
        let (at, at_key) = (of(s.queries), of(s.keys));
        let x = |t: &[f32], c: usize, i: usize| f64::from(t[at(c, i)]);
        let y = |t: &[f32], c: usize, j: usize| f64::from(t[at_key(c, j)]);
        for i in 0..s.queries {
            let scores: Vec<f64> = (0..s.keys)
                .map(|j| {
                    let bias = mask.bias.map_or(0.0, |bias| bias[head / s.heads * s.keys + j].max(-1e30));
                    match mask.causal && j > i {
                        true => f64::NEG_INFINITY,
                        false => {
                            let score = (0..d).map(|c| x(q, c, i) * y(k, c, j)).sum::<f64>();
                            f64::from(s.scale) * score + f64::from(bias)
                        }
                    }
                })
                .collect();
            let largest = scores.iter().fold(f64::MIN, |m, &x| m.max(x));
            let e: Vec<f64> = scores.iter().map(|x| (x - largest).exp()).collect();
            let sum: f64 = e.iter().sum();
            let p: Vec<f64> = e.iter().map(|e| e / sum).collect();
            let dp: Vec<f64> = (0..s.keys).map(|j| (0..d).map(|c| x(d_o, c, i) * y(v, c, j)).sum()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for j in 0..s.keys {
                let ds = f64::from(s.scale) * p[j] * (dp[j] - mean);
                for c in 0..d {
                    out[0][at(c, i)] += p[j] * y(v, c, j);
                    out[1][at(c, i)] += ds * y(k, c, j);
                    out[2][at_key(c, j)] += ds * x(q, c, i);
                    out[3][at_key(c, j)] += p[j] * x(d_o, c, i);
                }
            }
        }
    }
    out
}

#[test]
fn equals_its_formula() {
    for length in [1, 2, 3, 5, 7, 33, 49, 64, 256] {
        for (heads, dim) in [(1, 1), (3, 3), (2, 8), (2, 16), (1, 24), (3, 24), (4, 32), (1, 64)] {
            let batch = if length > 60 { 1 } else { 2 };
            let scale = 1.0 / (dim as f32).sqrt();
            let s = Attention { batch, heads, queries: length, keys: length, dim, scale, layout: Layout::Maps };
            let channels = heads * dim;
            let planes = [1, 2, 3, 4].map(|seed| numbers(seed, batch * channels * length));
            let maps = planes.each_ref().map(|p| to_map(p, channels, length));
            let qkv = [&maps[0][..], &maps[1], &maps[2]];
            let mut got = [0; 4].map(|_| vec![f32::NAN; maps[0].len()]);
            let [o, dq, dk, dv] = &mut got;
            forward(&s, qkv, Mask::default(), o);
            backward(&s, qkv, Mask::default(), &maps[3], [dq, dk, dv]);
            let expected = reference(&s, planes.each_ref().map(|p| &p[..]), Mask::default());
            for ((name, got), expected) in ["o", "dq", "dk", "dv"].into_iter().zip(got).zip(expected) {
                assert_close(&from_map(&got, channels, length), &expected, 1e-5, &format!("{name} of {s:?}"));
            }
        }
    }
}

/// Planes `[batch][channel][position]` as tokens `[batch][position][channel]`.
fn to_tokens(planes: &[f32], channels: usize, positions: usize) -> Vec<f32> {
    let images = planes.chunks(channels * positions);
    images
        .flat_map(|image| (0..positions).flat_map(move |i| (0..channels).map(move |c| image[c * positions + i])))
        .collect()
}

/// Holds attention of tokens and its gradients to the formula.
#[track_caller]
fn check_tokens(s: &Attention, mask: Mask, tolerance: f64) {
    let channels = s.heads * s.dim;
    let positions = [s.queries, s.keys, s.keys, s.queries];
    let planes = [1, 2, 3, 4].map(|seed| numbers(seed, s.batch * channels * positions[seed as usize - 1]));
    let mut tokens = planes.iter().zip(positions).map(|(p, n)| to_tokens(p, channels, n));
    let [q, k, v, d_o] = [(); 4].map(|()| tokens.next().unwrap());
    let [mut o, mut dq] = [0; 2].map(|_| vec![f32::NAN; q.len()]);
    let [mut dk, mut dv] = [0; 2].map(|_| vec![f32::NAN; k.len()]);
    forward(s, [&q, &k, &v], mask, &mut o);
    backward(s, [&q, &k, &v], mask, &d_o, [&mut dq, &mut dk, &mut dv]);
    let expected = reference(s, planes.each_ref().map(|p| &p[..]), mask);
    let got = [("o", o, s.queries), ("dq", dq, s.queries), ("dk", dk, s.keys), ("dv", dv, s.keys)];
    for ((name, got, n), expected) in got.into_iter().zip(expected) {
        let expected: Vec<f64> = expected
            .chunks(channels * n)
            .flat_map(|image| (0..n).flat_map(move |i| (0..channels).map(move |c| image[c * n + i])))
            .collect();
        if s.keys > 1 || matches!(name, "o" | "dv") {
            assert_close(&got, &expected, tolerance, &format!("{name} of {s:?}, causal {}", mask.causal));
        }
    }
}

#[test]
fn of_tokens_equals_its_formula() {
    for (queries, keys) in [(1, 1), (1, 5), (7, 3), (33, 77), (64, 64), (256, 77)] {
        for (heads, dim) in [(1, 1), (3, 3), (2, 8), (3, 24), (6, 64)] {
            let scale = 1.0 / (dim as f32).sqrt();
            let s = Attention { batch: 2, heads, queries, keys, dim, scale, layout: Layout::Tokens };
            check_tokens(&s, Mask::default(), 1e-5);
        }
    }
}

/// Some keys count less, some not at all; of one image nothing is left but equal shares.
#[test]
fn masks_are_in_the_formula() {
    for (queries, keys) in [(5, 5), (33, 77), (77, 77), (100, 100)] {
        for (batch, heads, dim) in [(1, 2, 8), (3, 3, 24), (2, 1, 16)] {
            let s = Attention { batch, heads, queries, keys, dim, scale: 0.5, layout: Layout::Tokens };
            let mut bias = numbers(9, batch * keys);
            bias.iter_mut().step_by(3).for_each(|b| *b = -10_000.0);
            bias.iter_mut().skip(1).step_by(5).for_each(|b| *b = f32::MIN);
            for causal in [false, true] {
                check_tokens(&s, Mask { causal, bias: None }, 1e-5);
                check_tokens(&s, Mask { causal, bias: Some(&bias) }, 1e-5);
            }
            bias[..keys].fill(f32::NEG_INFINITY);
            check_tokens(&s, Mask { causal: false, bias: Some(&bias) }, 1e-5);
        }
    }
}

/// More keys than a block of queries meets at a time, the largest score of many rows in a later block.
#[test]
fn many_keys_equal_the_formula() {
    for (queries, keys, heads, dim) in [(50, 2500, 2, 8), (3, 1025, 1, 40), (2060, 2060, 1, 16)] {
        let s = Attention { batch: 1, heads, queries, keys, dim, scale: 1.0, layout: Layout::Tokens };
        let rising: Vec<f32> = (0..keys).map(|j| j as f32 * 0.01).collect();
        for (causal, bias) in [(false, None), (queries == keys, Some(&rising[..]))] {
            // Of so many keys few count, so the largest gradients are far above the root mean square.
            check_tokens(&s, Mask { causal, bias }, 1e-4);
        }
    }
}

#[test]
fn large_scores_stay_finite() {
    let s = Attention { batch: 1, heads: 1, queries: 20, keys: 20, dim: 4, scale: 1.0, layout: Layout::Maps };
    let big: Vec<f32> = numbers(1, 80).iter().map(|x| x * 1e4).collect();
    let (map, v) = (to_map(&big, 4, 20), to_map(&numbers(2, 80), 4, 20));
    let mut o = vec![0.0; map.len()];
    forward(&s, [&map, &map, &v], Mask::default(), &mut o);
    assert!(o.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
}

/// With fewer heads than threads, spans of a head are given to threads.
#[test]
fn more_threads_than_heads_change_no_bit() {
    for (batch, heads, length, dim) in
        [(1, 1, 500, 16), (1, 2, 401, 32), (2, 3, 300, 8), (1, 1, 97, 3), (1, 1, 1500, 4)]
    {
        let s = Attention { batch, heads, queries: length, keys: length, dim, scale: 0.4, layout: Layout::Maps };
        let [q, k, v, d_o] = [1, 2, 3, 4].map(|seed| {
            let planes = numbers(seed, batch * heads * dim * length);
            to_map(&planes, heads * dim, length)
        });
        let run = || {
            let mut out = [0; 4].map(|_| vec![f32::NAN; q.len()]);
            let [o, dq, dk, dv] = &mut out;
            forward(&s, [&q, &k, &v], Mask::default(), o);
            backward(&s, [&q, &k, &v], Mask::default(), &d_o, [dq, dk, dv]);
            out.map(|t| bits(&t))
        };
        let one = on_threads(1, run);
        for threads in [2, 3, 4, 7, 16] {
            assert!(on_threads(threads, run) == one, "{s:?} on {threads} threads");
        }
    }
}

#[test]
fn without_images_or_pixels_nothing_is_written() {
    for (batch, length) in [(0, 4), (2, 0)] {
        let s = Attention { batch, heads: 2, queries: length, keys: length, dim: 3, scale: 1.0, layout: Layout::Maps };
        forward(&s, [&[]; 3], Mask::default(), &mut []);
        backward(&s, [&[]; 3], Mask::default(), &[], [&mut [], &mut [], &mut []]);
    }
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
