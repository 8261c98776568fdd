//! What works on tokens (layer normalisation, gates) against the formulas in double precision.

mod common;

use common::{ACTIVATIONS, activated, assert_close, dot, gradient, numbers, pass_at_lower_levels, slope, unset, wide};
use undiffuse_kernels::gate::{self, Gate};
use undiffuse_kernels::gated::{self, Gated};
use undiffuse_kernels::layer_norm::{self, Gradients, LayerNorm, Line};

/// Pictures, tokens, width.
const SIZES: [[usize; 3]; 9] =
    [[1, 1, 3], [3, 2, 4], [2, 5, 15], [1, 5, 16], [9, 1, 17], [2, 65, 33], [10, 7, 40], [2, 150, 5], [9, 3, 384]];

const EPS: f64 = 1e-5;

/// `y`, of `x`, gain, offset, scale and shift, one after the other.
fn normalised([batch, tokens, width]: [usize; 3], all: &[f64]) -> Vec<f64> {
    let (x, others) = all.split_at(batch * tokens * width);
    let (gain, others) = others.split_at(width);
    let (offset, others) = others.split_at(width);
    let (scale, shift) = others.split_at(batch * width);
    let mut y = Vec::new();
    for (token, x) in x.chunks(width).enumerate() {
        let picture = token / tokens * width;
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        for c in 0..width {
            let z = (x[c] - mean) / (variance + EPS).sqrt() * gain[c] + offset[c];
            y.push(z * (1.0 + scale[picture + c]) + shift[picture + c]);
        }
    }
    y
}

fn check_layer_norm(size @ [batch, tokens, width]: [usize; 3], affine: bool, modulation: bool) {
    let shape = LayerNorm { batch, tokens, width, eps: EPS as f32 };
    let n = batch * tokens * width;
    let x: Vec<f32> = numbers(1, n).iter().map(|x| 3.0 + x).collect();
    let dy = numbers(2, n);
    let or = |there: bool, seed, n, value| if there { numbers(seed, n) } else { vec![value; n] };
    let (gain, offset) = (or(affine, 3, width, 1.0), or(affine, 4, width, 0.0));
    let (scale, shift) = (or(modulation, 5, batch * width, 0.0), or(modulation, 6, batch * width, 0.0));
    let line =
        Line { affine: affine.then_some([&gain[..], &offset]), modulation: modulation.then_some([&scale[..], &shift]) };
    let (mut y, mut dx) = (unset(n), unset(n));
    let [mut d_gain, mut d_offset] = [0; 2].map(|_| unset(width));
    let [mut d_scale, mut d_shift] = [0; 2].map(|_| unset(batch * width));
    layer_norm::forward(&shape, &x, &line, &mut y);
    let gradients = Gradients {
        x: &mut dx,
        affine: affine.then_some([&mut d_gain[..], &mut d_offset]),
        modulation: modulation.then_some([&mut d_scale[..], &mut d_shift]),
    };
    layer_norm::backward(&shape, &x, &line, &dy, gradients);

    let all: Vec<f64> = [&x, &gain, &offset, &scale, &shift].into_iter().flat_map(|t| wide(t)).collect();
    let what = |name: &str| format!("{name} of {size:?}, affine {affine}, modulation {modulation}");
    assert_close(&y, &normalised(size, &all), 2e-5, &what("y"));
    if n > 2000 {
        return; // differences of every number would take long
    }
    let truth = gradient(&all, |all| dot(&normalised(size, all), &wide(&dy)));
    let mut truth = &truth[..];
    let mut next = |n: usize| {
        let (own, rest) = truth.split_at(n);
        truth = rest;
        own
    };
    let (dx64, affine64, modulation64) =
        (next(n), [next(width), next(width)], [next(batch * width), next(batch * width)]);
    assert_close(&dx, dx64, 5e-4, &what("dx"));
    for (got, truth) in [d_gain, d_offset].iter().zip(affine64).filter(|_| affine) {
        assert_close(got, truth, 5e-5, &what("gain and offset"));
    }
    for (got, truth) in [d_scale, d_shift].iter().zip(modulation64).filter(|_| modulation) {
        assert_close(got, truth, 5e-5, &what("scale and shift"));
    }
}

#[test]
fn layer_norm_and_its_gradients() {
    for size in SIZES {
        for (affine, modulation) in [(false, false), (true, false), (false, true), (true, true)] {
            check_layer_norm(size, affine, modulation);
        }
    }
}

#[test]
fn gate_and_its_gradients() {
    for [batch, tokens, width] in SIZES {
        let shape = Gate { batch, tokens, width };
        let [x, y, dz] = [1, 2, 3].map(|seed| numbers(seed, batch * tokens * width));
        let g = numbers(4, batch * width);
        let (mut z, mut dy, mut dg) = (unset(x.len()), unset(x.len()), unset(g.len()));
        gate::forward(&shape, &x, &g, &y, &mut z);
        gate::backward(&shape, &g, &y, &dz, &mut dy, &mut dg);
        let of = |i: usize| i / (tokens * width) * width + i % width;
        let [x, y, dz, g] = [&x, &y, &dz, &g].map(|t| wide(t));
        let z64: Vec<f64> = (0..x.len()).map(|i| x[i] + g[of(i)] * y[i]).collect();
        let dy64: Vec<f64> = (0..x.len()).map(|i| g[of(i)] * dz[i]).collect();
        let mut dg64 = vec![0.0; g.len()];
        (0..x.len()).for_each(|i| dg64[of(i)] += dz[i] * y[i]);
        for (got, truth, name) in [(z, z64, "z"), (dy, dy64, "dy"), (dg, dg64, "dgate")] {
            assert_close(&got, &truth, 5e-6, &format!("{name} of {shape:?}"));
        }
    }
}

#[test]
fn gated_activations_and_their_gradients() {
    for [batch, tokens, width] in SIZES {
        for activation in ACTIVATIONS {
            let shape = Gated { rows: batch * tokens, width, activation };
            let (x, dy) = (numbers(1, 2 * batch * tokens * width), numbers(2, batch * tokens * width));
            let (mut y, mut dx) = (unset(dy.len()), unset(x.len()));
            gated::forward(&shape, &x, &mut y);
            gated::backward(&shape, &x, &dy, &mut dx);
            let (mut y64, mut dx64) = (vec![0.0; y.len()], vec![0.0; x.len()]);
            for (i, dy) in wide(&dy).into_iter().enumerate() {
                let first = i / width * 2 * width + i % width;
                let [a, b] = [first, first + width].map(|i| f64::from(x[i]));
                y64[i] = a * activated(activation, b);
                dx64[first] = dy * activated(activation, b);
                dx64[first + width] = dy * a * slope(activation, b);
            }
            for (got, truth, name) in [(y, y64, "y"), (dx, dx64, "dx")] {
                assert_close(&got, &truth, 5e-6, &format!("{name} of {shape:?}"));
            }
        }
    }
}

#[test]
fn of_nothing_nothing_is_written() {
    let (mut d_gain, mut d_offset) = (vec![1.0; 4], vec![1.0; 4]);
    let shape = LayerNorm { batch: 0, tokens: 3, width: 4, eps: 1e-5 };
    let line = Line { affine: Some([&[1.0; 4], &[0.0; 4]]), modulation: None };
    layer_norm::forward(&shape, &[], &line, &mut []);
    let affine = Some([&mut d_gain[..], &mut d_offset]);
    layer_norm::backward(&shape, &[], &line, &[], Gradients { x: &mut [], affine, modulation: None });
    assert_eq!([d_gain, d_offset], [[0.0; 4]; 2]);
    gate::forward(&Gate { batch: 2, tokens: 0, width: 3 }, &[], &[0.0; 6], &[], &mut []);
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
