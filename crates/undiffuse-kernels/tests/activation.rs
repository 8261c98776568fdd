//! The activations against their formulas in double precision.

mod common;

use common::{gradient, numbers};
use undiffuse_kernels::activation::{Activation, backward, forward};

/// The error function, by its power series and, beyond 3, its continued fraction.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..200 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(a, |f, n| a + n as f64 / 2.0 / f);
        1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

fn exact(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => z,
        Activation::Silu => z / (1.0 + (-z).exp()),
        Activation::Gelu => z * 0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2)),
        Activation::Relu => z.max(0.0),
        Activation::Mish => z * z.exp().ln_1p().tanh(),
    }
}

const ALL: [Activation; 5] =
    [Activation::Identity, Activation::Silu, Activation::Gelu, Activation::Relu, Activation::Mish];

#[test]
fn values_and_slopes_equal_their_formulas() {
    for activation in ALL {
        let x: Vec<f32> = numbers(1, 4003).iter().enumerate().map(|(i, x)| x * [0.1, 1.0, 5.0, 12.0][i % 4]).collect();
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        forward(activation, &x, &mut y);
        backward(activation, &x, &vec![1.0; x.len()], &mut dx);
        for ((x, y), dx) in x.iter().zip(y).zip(dx) {
            let z = f64::from(*x);
            let scale = z.abs().max(1.0);
            let error = (f64::from(y) - exact(activation, z)).abs() / scale;
            assert!(error < 4e-7, "{activation:?} at {x}: {y}, error {error:e}");
            if z.abs() > 1e-3 {
                let slope = gradient(&[z], |z| exact(activation, z[0]))[0];
                let error = (f64::from(dx) - slope).abs();
                assert!(error < 2e-6, "{activation:?}' at {x}: {dx}, error {error:e}");
            }
        }
    }
}

#[test]
fn far_values_are_finite_and_zero_stays_zero() {
    for activation in ALL {
        let x = [0.0, -0.0, 1e4, -1e4, 3e38, -3e38];
        let mut y = [f32::NAN; 6];
        forward(activation, &x, &mut y);
        assert_eq!(y[..2], [0.0; 2], "{activation:?}");
        assert_eq!([y[2], y[4]], [1e4, 3e38], "{activation:?}");
        let below = if activation == Activation::Identity { -1e4 } else { 0.0 };
        assert!((y[3] - below).abs() < 1e-30, "{activation:?}: {}", y[3]);
        backward(activation, &x, &[1.0; 6], &mut y);
        assert!(y.iter().all(|y| y.is_finite()), "{activation:?}: {y:?}");
    }
}
