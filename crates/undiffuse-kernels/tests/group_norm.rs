//! Group normalisation against its definition in f64, and its gradients against finite differences of that.

mod common;
use common::*;
use undiffuse_kernels::group_norm::{self, GroupNorm};

fn reference(shape: &GroupNorm, x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let GroupNorm { channels, pixels, groups, .. } = *shape;
    let len = channels / groups * pixels;
    let mut y = vec![];
    for (g, x) in x.chunks(len).enumerate() {
        let mean = x.iter().sum::<f64>() / len as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / len as f64;
        for (i, x) in x.iter().enumerate() {
            let c = (g % groups) * (channels / groups) + i / pixels;
            let z = (x - mean) / (variance + f64::from(shape.eps)).sqrt() * gamma[c] + beta[c];
            y.push(if shape.silu { z / (1.0 + (-z).exp()) } else { z });
        }
    }
    y
}

fn shape(batch: usize, channels: usize, pixels: usize, groups: usize, silu: bool) -> GroupNorm {
    GroupNorm { batch, channels, pixels, groups, eps: 1e-5, silu }
}

fn input(shape: &GroupNorm, offset: f32) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let x = numbers(1, shape.batch * shape.channels * shape.pixels).iter().map(|x| 3.0 * x + offset).collect();
    (x, numbers(2, shape.channels), numbers(3, shape.channels))
}

fn check_forward(shape: &GroupNorm, offset: f32, tolerance: f64) {
    let (x, gamma, beta) = input(shape, offset);
    let mut y = unset(x.len());
    group_norm::forward(shape, &x, [&gamma, &beta], &mut y);
    assert_close(&y, &reference(shape, &wide(&x), &wide(&gamma), &wide(&beta)), tolerance, &format!("{shape:?}"));
}

fn check_backward(shape: &GroupNorm) {
    let (x, gamma, beta) = input(shape, 0.5);
    let dy = numbers(4, x.len());
    let (mut dx, mut dgamma, mut dbeta) = (unset(x.len()), unset(gamma.len()), unset(beta.len()));
    group_norm::backward(shape, &x, [&gamma, &beta], &dy, &mut dx, [&mut dgamma, &mut dbeta]);
    let (x, gamma, beta, dy) = (wide(&x), wide(&gamma), wide(&beta), wide(&dy));
    let dx64 = gradient(&x, |x| dot(&reference(shape, x, &gamma, &beta), &dy));
    let dgamma64 = gradient(&gamma, |gamma| dot(&reference(shape, &x, gamma, &beta), &dy));
    let dbeta64 = gradient(&beta, |beta| dot(&reference(shape, &x, &gamma, beta), &dy));
    for (got, truth, what) in [(&dx, dx64, "dx"), (&dgamma, dgamma64, "dgamma"), (&dbeta, dbeta64, "dbeta")] {
        assert_close(got, &truth, 5e-6, &format!("{what} of {shape:?}"));
    }
}

#[test]
fn forward_of_any_size() {
    for silu in [false, true] {
        for pixels in [1, 3, 16, 49, 64, 81, 784, 1024] {
            for (channels, groups) in [(4, 2), (32, 32), (6, 1), (48, 16)] {
                if channels / groups * pixels > 1 {
                    check_forward(&shape(2, channels, pixels, groups, silu), 0.3, 2e-6);
                }
            }
        }
    }
}

#[test]
fn a_large_mean_costs_only_the_digits_it_must() {
    check_forward(&shape(1, 8, 256, 2, false), 100.0, 2e-5);
}

#[test]
fn gradients_of_any_size() {
    for silu in [false, true] {
        for (batch, channels, pixels, groups) in
            [(2, 4, 9, 2), (1, 6, 16, 1), (3, 8, 5, 8), (2, 8, 49, 4), (1, 8, 1, 2)]
        {
            check_backward(&shape(batch, channels, pixels, groups, silu));
        }
    }
}

#[test]
fn a_constant_image_becomes_beta() {
    let shape = shape(1, 4, 10, 2, false);
    let mut y = unset(40);
    group_norm::forward(&shape, &[7.0; 40], [&[2.0; 4], &[0.25; 4]], &mut y);
    assert!(y.iter().all(|y| *y == 0.25), "{y:?}");
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
