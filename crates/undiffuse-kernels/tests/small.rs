//! Every kernel, forward and backward, at sizes that an interpreter gets through: what Miri runs
//! (`xtask/checks/sanitize.sh`). Gradients are compared with differences of the formula for the value.

mod common;

use common::conv::{Case, check};
use common::*;
use undiffuse_kernels::activation::{self, Activation};
use undiffuse_kernels::attention::{self, Attention, Layout, Mask};
use undiffuse_kernels::conv2d::Conv2d;
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::norm::{self, Gradients, Norm};
use undiffuse_kernels::optimizer::{self, AdamW};
use undiffuse_kernels::{
    gate::{self, Gate},
    layer_norm::{self, LayerNorm, Line},
};

#[test]
fn convolutions() {
    let base = Conv2d {
        batch: 1,
        c_in: [3, 0],
        h: 5,
        w: 6,
        c_out: 2,
        kernel: (3, 3),
        stride: 1,
        pad: [1; 4],
        upsample: false,
    };
    for shape in [
        Conv2d { c_in: [16, 2], c_out: 17, h: 2, ..base },
        Conv2d { c_in: [16, 0], upsample: true, h: 2, w: 3, ..base },
        Conv2d { batch: 2, ..base },
        Conv2d { stride: 2, ..base },
        Conv2d { kernel: (1, 1), pad: [0; 4], c_in: [16, 1], ..base },
    ] {
        check(&Case::full(shape), 3e-5);
    }
}

#[test]
fn norms() {
    let (channels, groups, pixels) = (20, 4, 3);
    let shape = Norm { batch: 1, channels: [16, 4], pixels, groups, eps: 1e-3, activation: Activation::Silu };
    let [x, gamma, beta, dy] =
        [channels * pixels, channels, channels, channels * pixels].map(|n| numbers(1 + n as u64, n));
    let value = |x: &[f64]| -> Vec<f64> {
        let normal = x.chunks(channels / groups * pixels).flat_map(|x| standard(x, 1e-3));
        let z = normal.enumerate().map(|(i, x)| x * f64::from(gamma[i / pixels]) + f64::from(beta[i / pixels]));
        z.map(|z| activated(Activation::Silu, z)).collect()
    };
    let [maps, mut d] = [&x, &dy].map(|planes| to_maps(planes, shape.channels, pixels));
    let (maps, affine) = ([&maps[0][..], &maps[1]], [&gamma[..], &beta]);
    let (mut statistics, mut coefficients) = (unset(shape.statistics_len()), unset(shape.coefficients_len()));
    let mut y = maps.map(|m| unset(m.len()));
    let (mut dgamma, mut dbeta) = (unset(channels), unset(channels));
    norm::statistics(&shape, maps, &mut statistics);
    norm::coefficients(&shape, &statistics, affine, None, &mut coefficients);
    let [first, second] = &mut y;
    norm::forward(&shape, maps, &coefficients, [first, second]);
    let [first, second] = &mut d;
    let gradients = Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: None };
    norm::backward(&shape, maps, [&statistics, &coefficients], affine, None, [first, second], [None; 2], gradients);
    assert_close(&from_maps(&y, shape.channels, pixels), &value(&wide(&x)), 1e-5, "y");
    let truth = gradient(&wide(&x), |x| dot(&value(x), &wide(&dy)));
    assert_close(&from_maps(&d, shape.channels, pixels), &truth, 1e-5, "dx");
}

#[test]
fn attention_of_two_heads() {
    let s = Attention { batch: 1, heads: 2, queries: 5, keys: 5, dim: 9, scale: 0.4, layout: Layout::Maps };
    let (channels, length) = (s.heads * s.dim, s.keys);
    let n = channels * length;
    let value = |qkv: &[f64]| -> Vec<f64> {
        let at = |which: usize, head: usize, c: usize, i: usize| qkv[which * n + (head * s.dim + c) * length + i];
        let mut o = vec![0.0; n];
        for (head, i) in (0..s.heads).flat_map(|h| (0..length).map(move |i| (h, i))) {
            let score = |j| f64::from(s.scale) * (0..s.dim).map(|c| at(0, head, c, i) * at(1, head, c, j)).sum::<f64>();
            let p = softmax_of(&(0..length).map(score).collect::<Vec<_>>());
            for c in 0..s.dim {
                o[(head * s.dim + c) * length + i] = (0..length).map(|j| p[j] * at(2, head, c, j)).sum();
            }
        }
        o
    };
    let planes = [1, 2, 3, 4].map(|seed| numbers(seed, n));
    let maps = planes.each_ref().map(|p| to_map(p, channels, length));
    let qkv = [&maps[0][..], &maps[1], &maps[2]];
    let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| unset(maps[0].len()));
    attention::forward(&s, qkv, Mask::default(), &mut o);
    attention::backward(&s, qkv, Mask::default(), &maps[3], [&mut dq, &mut dk, &mut dv]);
    let (x, dy) = (wide(&planes[..3].concat()), wide(&planes[3]));
    assert_close(&from_map(&o, channels, length), &value(&x), 1e-5, "o");
    let got: Vec<f32> = [dq, dk, dv].iter().flat_map(|d| from_map(d, channels, length)).collect();
    assert_close(&got, &gradient(&x, |x| dot(&value(x), &dy)), 1e-5, "dq, dk, dv");
}

#[test]
fn linear_maps() {
    let s = Linear { rows: 3, c_in: 5, c_out: 18 };
    let [x, weight, bias, dy] = [15, 90, 18, 54].map(|n| numbers(n as u64, n));
    let value = |x: &[f64], weight: &[f64]| -> Vec<f64> {
        let at = |r: usize, o: usize| f64::from(bias[o]) + dot(&x[r * 5..][..5], &weight[o * 5..][..5]);
        (0..54).map(|i| at(i / 18, i % 18)).collect()
    };
    let [mut y, mut dx, mut dw, mut db] = [54, 15, 90, 18].map(unset);
    linear::forward(&s, &x, &weight, Some(&bias), &mut y);
    linear::backward_data(&s, &x, &dy, &weight, &mut dx);
    linear::backward_weight(&s, 1, &x, &dy, &mut dw, Some(&mut db));
    let [x, weight, dy] = [&x, &weight, &dy].map(|t| wide(t));
    assert_close(&y, &value(&x, &weight), 1e-5, "y");
    assert_close(&dx, &gradient(&x, |x| dot(&value(x, &weight), &dy)), 1e-5, "dx");
    assert_close(&dw, &gradient(&weight, |weight| dot(&value(&x, weight), &dy)), 1e-5, "dw");
    let sums: Vec<f64> = (0..18).map(|o| dy.iter().skip(o).step_by(18).sum()).collect();
    assert_close(&db, &sums, 1e-5, "db");
}

#[test]
fn tokens() {
    let (tokens, width, eps) = (2, 19, 1e-3);
    let [x, dy] = [1, 2].map(|seed| numbers(seed, tokens * width));
    let [gain, offset, g] = [3, 4, 5].map(|seed| numbers(seed, width));
    let (x64, dy64) = (wide(&x), wide(&dy));
    let (mut y, mut dx) = (unset(x.len()), unset(x.len()));
    let value = |x: &[f64]| -> Vec<f64> {
        let normal = x.chunks(width).flat_map(|x| standard(x, eps));
        normal.enumerate().map(|(i, x)| x * f64::from(gain[i % width]) + f64::from(offset[i % width])).collect()
    };
    let (mut d_gain, mut d_offset) = (unset(width), unset(width));
    let shape = LayerNorm { batch: 1, tokens, width, eps: eps as f32 };
    let line = Line { affine: Some([&gain, &offset]), modulation: None };
    let affine = Some([&mut d_gain[..], &mut d_offset]);
    layer_norm::forward(&shape, &x, &line, &mut y);
    layer_norm::backward(&shape, &x, &line, &dy, layer_norm::Gradients { x: &mut dx, affine, modulation: None });
    assert_close(&y, &value(&x64), 1e-5, "layer norm");
    assert_close(&dx, &gradient(&x64, |x| dot(&value(x), &dy64)), 1e-5, "dx of layer norm");
    let sums: Vec<f64> = (0..width).map(|i| dy64[i] + dy64[width + i]).collect();
    assert_close(&d_offset, &sums, 1e-5, "gradient of the offset");
    let shape = Gate { batch: 1, tokens, width };
    gate::forward(&shape, &x, &g, &dy, &mut y);
    let gated: Vec<f64> = (0..x.len()).map(|i| x64[i] + f64::from(g[i % width]) * dy64[i]).collect();
    assert_close(&y, &gated, 1e-6, "gate");
    gate::backward(&shape, &g, &x, &dy, &mut dx, &mut d_gain);
    let sums: Vec<f64> = (0..width).map(|i| x64[i] * dy64[i] + x64[width + i] * dy64[width + i]).collect();
    assert_close(&d_gain, &sums, 1e-5, "gradient of the gate");
}

#[test]
fn activations_and_the_optimizer() {
    let x: Vec<f32> = numbers(1, 19).iter().map(|x| 4.0 * x).collect();
    for activation in ACTIVATIONS {
        let (mut y, mut dx) = (unset(19), unset(19));
        activation::forward(activation, &x, &mut y);
        activation::backward(activation, &x, &[1.0; 19], &mut dx);
        let truth = |f: fn(Activation, f64) -> f64| wide(&x).iter().map(|x| f(activation, *x)).collect::<Vec<_>>();
        assert_close(&y, &truth(activated), 1e-6, &format!("{activation:?}"));
        assert_close(&dx, &truth(slope), 1e-5, &format!("slope of {activation:?}"));
    }
    let h = AdamW { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.5, step: 0, gradient_scale: 2.0 };
    let [mut p, g, mut average] = [1, 2, 3].map(|seed| numbers(seed, 19));
    let (before, average_before) = (wide(&p), wide(&average));
    let [mut m, mut v] = [0; 2].map(|_| vec![0.0; 19]);
    optimizer::step(&h, &mut p, &g, [&mut m, &mut v], vec![(&mut average, 0.25)]);
    // The first step moves by the learning rate against the sign of the gradient.
    let truth: Vec<f64> = before.iter().zip(&g).map(|(p, g)| p * 0.95 - 0.1 * f64::from(g.signum())).collect();
    assert_close(&p, &truth, 1e-6, "p");
    let truth: Vec<f64> = average_before.iter().zip(&truth).map(|(a, p)| a + 0.25 * (p - a)).collect();
    assert_close(&average, &truth, 1e-6, "average");
}

/// Large enough to be given to threads, and little work otherwise.
#[test]
fn threads_share_a_sum() {
    let x = vec![0.5; 80_000];
    assert_eq!(on_threads(2, || optimizer::square_sum(&x)), 20_000.0);
}

/// A group or row less its mean, over its deviation.
fn standard(x: &[f64], eps: f64) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    x.iter().map(|x| (x - mean) / (variance + eps).sqrt()).collect()
}

fn softmax_of(x: &[f64]) -> Vec<f64> {
    let e: Vec<f64> = x.iter().map(|x| x.exp()).collect();
    e.iter().map(|x| x / e.iter().sum::<f64>()).collect()
}
