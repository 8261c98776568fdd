//! The activations against their formulas in double precision.

mod common;

use common::{ACTIVATIONS, activated, numbers, slope};
use undiffuse_kernels::activation::{Activation, backward, forward};

#[test]
fn values_and_slopes_equal_their_formulas() {
    for activation in ACTIVATIONS {
        let x: Vec<f32> = numbers(1, 4003).iter().enumerate().map(|(i, x)| x * [0.1, 1.0, 5.0, 12.0][i % 4]).collect();
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        forward(activation, &x, &mut y);
        backward(activation, &x, &vec![1.0; x.len()], &mut dx);
        for ((x, y), dx) in x.iter().zip(y).zip(dx) {
            let z = f64::from(*x);
            let scale = z.abs().max(1.0);
            let error = (f64::from(y) - activated(activation, z)).abs() / scale;
            assert!(error < 4e-7, "{activation:?} at {x}: {y}, error {error:e}");
            if z.abs() > 1e-3 {
                let slope = slope(activation, z);
                let error = (f64::from(dx) - slope).abs();
                assert!(error < 2e-6, "{activation:?}' at {x}: {dx}, error {error:e}");
            }
        }
    }
}

#[test]
fn far_values_are_finite_and_zero_stays_zero() {
    for activation in ACTIVATIONS {
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
