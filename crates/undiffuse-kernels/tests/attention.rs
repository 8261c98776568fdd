//! Attention against its definition in f64, and its gradients against finite differences of that.

mod common;
use common::*;
use undiffuse_kernels::attention::{self, Attention};

fn reference(shape: &Attention, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let Attention { heads, length, dim, scale } = *shape;
    let mut o = vec![0.0; q.len()];
    for h in 0..heads {
        for i in 0..length {
            let row = |t: usize| (h * length + t) * dim..(h * length + t + 1) * dim;
            let scores: Vec<f64> = (0..length).map(|j| dot(&q[row(i)], &k[row(j)]) * f64::from(scale)).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let sum: f64 = e.iter().sum();
            for (j, e) in e.iter().enumerate() {
                for (o, v) in o[row(i)].iter_mut().zip(&v[row(j)]) {
                    *o += e / sum * v;
                }
            }
        }
    }
    o
}

fn input(shape: &Attention, spread: f32) -> [Vec<f32>; 3] {
    let len = shape.heads * shape.length * shape.dim;
    [1, 2, 3].map(|seed| numbers(seed, len).iter().map(|x| x * spread).collect())
}

fn check_forward(heads: usize, length: usize, dim: usize, spread: f32, tolerance: f64) {
    let shape = Attention { heads, length, dim, scale: 1.0 / (dim as f32).sqrt() };
    let [q, k, v] = input(&shape, spread);
    let mut o = unset(q.len());
    attention::forward(&shape, [&q, &k, &v], &mut o);
    assert_close(&o, &reference(&shape, &wide(&q), &wide(&k), &wide(&v)), tolerance, &format!("o of {shape:?}"));
}

fn check_backward(heads: usize, length: usize, dim: usize) {
    let shape = Attention { heads, length, dim, scale: 0.7 };
    let [q, k, v] = input(&shape, 1.0);
    let d_o = numbers(4, q.len());
    let [mut dq, mut dk, mut dv] = [0; 3].map(|_| unset(q.len()));
    attention::backward(&shape, [&q, &k, &v], &d_o, [&mut dq, &mut dk, &mut dv]);
    let (q, k, v, d_o) = (wide(&q), wide(&k), wide(&v), wide(&d_o));
    let dq64 = gradient(&q, |q| dot(&reference(&shape, q, &k, &v), &d_o));
    let dk64 = gradient(&k, |k| dot(&reference(&shape, &q, k, &v), &d_o));
    let dv64 = gradient(&v, |v| dot(&reference(&shape, &q, &k, v), &d_o));
    for (got, truth, what) in [(&dq, dq64, "dq"), (&dk, dk64, "dk"), (&dv, dv64, "dv")] {
        assert_close(got, &truth, 5e-6, &format!("{what} of {shape:?}"));
    }
}

#[test]
fn forward_of_any_size() {
    for length in [1, 2, 3, 16, 33, 49, 64, 100, 256] {
        for dim in [1, 5, 8, 16, 32, 40, 64] {
            check_forward(3, length, dim, 1.0, 5e-6);
        }
    }
    check_forward(1, 500, 32, 2.0, 1e-5);
}

#[test]
fn scores_far_apart_do_not_overflow() {
    // scores in the thousands: their last bit alone is worth 1e-4
    check_forward(2, 20, 8, 60.0, 2e-4);
}

#[test]
fn gradients_of_any_size() {
    for (heads, length, dim) in [(2, 1, 3), (1, 3, 5), (2, 7, 8), (1, 17, 16), (1, 49, 4), (1, 60, 3)] {
        check_backward(heads, length, dim);
    }
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
