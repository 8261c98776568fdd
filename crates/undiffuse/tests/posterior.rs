//! Posterior sampling against the one posterior that is known: Gaussian data, Gaussian noise.

use burn::tensor::{Tensor, TensorData};
use undiffuse::codec::AnyCodec;
use undiffuse::denoise::{Cond, Mixture, Posterior};
use undiffuse::device;
use undiffuse::math::prelude::*;
use undiffuse::math::solver::Ddpm;
use undiffuse::sample::{Noise, sample};

/// Data are N(0, 1) a pixel. A pixel seen as `y` through noise of std 0.5 is N(y / 1.25, 0.2); one not seen stays N(0, 1).
#[test]
fn gaussian_posteriors_are_exact() {
    let device = device::open("cpu").unwrap();
    let data = Mixture::new(&[(1.0, vec![0.0, 0.0], 1.0)], &device);
    let tensor = |values: [f32; 2]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 1, 1, 2]), &device);
    let posterior = Posterior {
        inner: data,
        codec: AnyCodec::default(),
        observed: tensor([1.5, 9.0]),
        precision: tensor([4.0, 0.0]),
    };
    let schedule: ScheduleKind = "vp".parse().unwrap();
    let spacing: SpacingKind = "log-snr".parse().unwrap();
    let plan = Grid::new(&*schedule, &*spacing, 200, Last::Clean).unwrap().plan(&Ddpm::default()).unwrap();
    let n = 4000;
    let x = sample(&posterior, &plan, Noise::Seeds((0..n).collect()), [1, 1, 2], &Cond::default()).finish().unwrap();
    let x: Vec<f32> = x.into_data().try_into_vec_as().unwrap();
    for (pixel, mean, variance) in [(0, 1.2, 0.2), (1, 0.0, 1.0)] {
        let values: Vec<f64> = x.iter().skip(pixel).step_by(2).map(|v| f64::from(*v)).collect();
        let found = values.iter().sum::<f64>() / n as f64;
        let spread = values.iter().map(|v| (v - found).powi(2)).sum::<f64>() / n as f64;
        // Four standard errors, and the steps' own share.
        assert!((found - mean).abs() < 4.0 * (variance / n as f64).sqrt() + 0.01, "pixel {pixel}: mean {found}");
        assert!((spread / variance - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt() + 0.03, "pixel {pixel}: {spread}");
    }
}
