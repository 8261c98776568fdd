//! What works on rows (softmax, layer normalisation) against the formulas in double precision.

mod common;

use common::{assert_close, numbers, wide};
use undiffuse_kernels::{layer_norm, softmax};

const SIZES: [[usize; 2]; 9] = [[0, 4], [1, 1], [3, 2], [2, 15], [5, 16], [3, 17], [130, 33], [70, 130], [200, 768]];

#[test]
fn softmax_and_its_gradient() {
    for [rows, width] in SIZES {
        let x: Vec<f32> = numbers(1, rows * width).iter().map(|x| x * 3.0).collect();
        let dy = numbers(2, rows * width);
        let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        softmax::forward(width, &x, &mut y);
        softmax::backward(width, &y, &dy, &mut dx);
        let (mut y64, mut dx64) = (vec![], vec![]);
        for (x, dy) in wide(&x).chunks(width).zip(wide(&dy).chunks(width)) {
            let largest = x.iter().fold(f64::MIN, |m, &x| m.max(x));
            let sum: f64 = x.iter().map(|x| (x - largest).exp()).sum();
            let p: Vec<f64> = x.iter().map(|x| (x - largest).exp() / sum).collect();
            let mean: f64 = p.iter().zip(dy).map(|(p, dy)| p * dy).sum();
            dx64.extend(p.iter().zip(dy).map(|(p, dy)| p * (dy - mean)));
            y64.extend(p);
        }
        assert_close(&y, &y64, 1e-5, &format!("y of {rows} × {width}"));
        if width > 1 {
            assert_close(&dx, &dx64, 1e-5, &format!("dx of {rows} × {width}"));
        }
    }
}

#[test]
fn large_scores_stay_finite() {
    let mut y = [0.0; 4];
    softmax::forward(4, &[1e30, -1e30, f32::NEG_INFINITY, 1e30], &mut y);
    assert_eq!([y[0], y[3]], [0.5; 2]);
    assert!(y[1] < 1e-37 && y[2] < 1e-37, "{y:?}");
}

#[test]
fn layer_norm_and_its_gradients() {
    const EPS: f64 = 1e-5;
    for [rows, width] in SIZES {
        let x: Vec<f32> = numbers(1, rows * width).iter().map(|x| 3.0 + x).collect();
        let [gamma, beta] = [2, 3].map(|seed| numbers(seed, width));
        let dy = numbers(4, rows * width);
        let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        let (mut dgamma, mut dbeta) = (vec![f32::NAN; width], vec![f32::NAN; width]);
        layer_norm::forward(EPS as f32, &x, [&gamma, &beta], &mut y);
        layer_norm::backward(EPS as f32, &x, &gamma, &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        let (mut y64, mut dx64, mut dgamma64, mut dbeta64) = (vec![], vec![], vec![0.0; width], vec![0.0; width]);
        let (gamma, beta) = (wide(&gamma), wide(&beta));
        for (x, dy) in wide(&x).chunks(width).zip(wide(&dy).chunks(width)) {
            let n = width as f64;
            let mean = x.iter().sum::<f64>() / n;
            let inverse = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + EPS).sqrt();
            let normal: Vec<f64> = x.iter().map(|x| (x - mean) * inverse).collect();
            let g: Vec<f64> = dy.iter().zip(&gamma).map(|(dy, gamma)| dy * gamma).collect();
            let mean_g = g.iter().sum::<f64>() / n;
            let mean_gx = g.iter().zip(&normal).map(|(g, x)| g * x).sum::<f64>() / n;
            for i in 0..width {
                y64.push(normal[i] * gamma[i] + beta[i]);
                dx64.push((g[i] - mean_g - normal[i] * mean_gx) * inverse);
                dgamma64[i] += dy[i] * normal[i];
                dbeta64[i] += dy[i];
            }
        }
        let what = |name: &str| format!("{name} of {rows} × {width}");
        assert_close(&y, &y64, 2e-5, &what("y"));
        if width > 2 {
            assert_close(&dx, &dx64, 5e-5, &what("dx"));
            assert_close(&dgamma, &dgamma64, 2e-5, &what("dgamma"));
        }
        assert_close(&dbeta, &dbeta64, 2e-5, &what("dbeta"));
    }
}
