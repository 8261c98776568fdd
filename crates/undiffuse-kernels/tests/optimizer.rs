//! The optimiser against its formula in double precision.

mod common;

use common::{assert_close, numbers, wide};
use undiffuse_kernels::optimizer::{AdamW, square_sum, step};

#[test]
fn ten_steps_equal_the_formula() {
    for n in [1, 15, 16, 33, 20_001] {
        let [mut p, mut fast, mut slow] = [1, 2, 3].map(|seed| numbers(seed, n));
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let (mut p64, mut fast64, mut slow64) = (wide(&p), wide(&fast), wide(&slow));
        let (mut m64, mut v64) = (vec![0f64; n], vec![0f64; n]);
        for t in 0..10 {
            let g = numbers(10 + t, n);
            let h =
                AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, step: t, gradient_scale: 0.3 };
            step(&h, &mut p, &g, [&mut m, &mut v], vec![(&mut fast, 0.5), (&mut slow, 0.01)]);
            let t = (t + 1) as i32;
            for i in 0..n {
                let g = 0.3 * f64::from(g[i]);
                m64[i] = 0.9 * m64[i] + 0.1 * g;
                v64[i] = 0.99 * v64[i] + 0.01 * g * g;
                let (m, v) = (m64[i] / (1.0 - 0.9f64.powi(t)), v64[i] / (1.0 - 0.99f64.powi(t)));
                p64[i] = p64[i] - 1e-2 * 0.1 * p64[i] - 1e-2 * m / (v.sqrt() + 1e-8);
                fast64[i] += 0.5 * (p64[i] - fast64[i]);
                slow64[i] += 0.01 * (p64[i] - slow64[i]);
            }
        }
        for (got, expected, what) in
            [(p, p64, "p"), (m, m64, "m"), (v, v64, "v"), (fast, fast64, "fast"), (slow, slow64, "slow")]
        {
            assert_close(&got, &expected, 1e-5, &format!("{what} of {n}"));
        }
    }
}

#[test]
fn square_sums() {
    for n in [0, 1, 17, 100_003] {
        let x = numbers(1, n);
        let expected: f64 = wide(&x).iter().map(|x| x * x).sum();
        assert!((square_sum(&x) - expected).abs() <= 1e-12 * expected, "{n}");
    }
}
