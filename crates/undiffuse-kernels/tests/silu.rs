//! SiLU against its definition in f64.

mod common;
use common::*;
use undiffuse_kernels::silu;

#[test]
fn value_and_slope() {
    for n in [0, 1, 15, 16, 17, 100_001] {
        let x: Vec<f32> = numbers(1, n).iter().map(|x| x * 30.0).collect();
        let dy = numbers(2, n);
        let (mut y, mut dx) = (unset(n), unset(n));
        silu::forward(&x, &mut y);
        silu::backward(&x, &dy, &mut dx);
        for i in 0..n {
            let z = f64::from(x[i]);
            let sigma = 1.0 / (1.0 + (-z).exp());
            let value = z * sigma;
            assert!((f64::from(y[i]) - value).abs() <= 4e-7 * value.abs(), "silu({z}) = {} not {value}", y[i]);
            let slope = f64::from(dy[i]) * sigma * (1.0 + z * (1.0 - sigma));
            assert!((f64::from(dx[i]) - slope).abs() <= 5e-7, "silu'({z}) = {} not {slope}", dx[i]);
        }
    }
}

#[test]
fn far_from_zero_and_not_a_number() {
    let x = [200.0, -200.0, 0.0, f32::NAN];
    let mut y = unset(4);
    silu::forward(&x, &mut y);
    assert_eq!(y[0], 200.0);
    assert!(y[1].abs() < 1e-30 && y[2] == 0.0 && y[3].is_nan());
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
