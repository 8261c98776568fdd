//! What every codec promises.

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse::codec::{AnyCodec, CodecKind};
use undiffuse::denoise::{At, Clipped, Clipping, Cond, Denoise, Guess, Inpaint, Mixture, Posterior};
use undiffuse::likelihood::bound::{self, BoundSettings, StepVariance};
use undiffuse::likelihood::flow::{self, FlowSettings, Trace};
use undiffuse::likelihood::{self, Dequantize, Estimate, TestPictures};
use undiffuse::math::likelihood::bits_per_dim;
use undiffuse::math::noise;
use undiffuse::math::ode::DormandPrince;
use undiffuse::math::parameterization::X0;
use undiffuse::math::prelude::*;
use undiffuse::math::recipe::Clip;
use undiffuse::math::spacing::LogSnr;

const SHAPES: [[usize; 3]; 3] = [[1, 4, 6], [3, 8, 8], [3, 32, 16]];

/// Those that make pictures of their latents.
fn codecs() -> impl Iterator<Item = CodecKind> {
    CodecKind::ALL.iter().map(|entry| (entry.default)()).filter(|codec| codec.one_way().is_none())
}

fn tensor(values: Vec<f32>, [c, h, w]: [usize; 3]) -> Tensor<4> {
    let n = values.len() / (c * h * w);
    Tensor::from_data(TensorData::new(values, [n, c, h, w]), &Device::flex())
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec_as().unwrap()
}

/// `n` tensors of noise.
fn noisy(stream: u64, n: usize, shape: [usize; 3]) -> Tensor<4> {
    let mut all = vec![0.0; n * shape.iter().product::<usize>()];
    noise::normal(5, stream, 0, &mut all);
    tensor(all, shape)
}

fn apart(a: Tensor<4>, b: Tensor<4>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn pictures_come_back_alone_and_in_company() {
    for (codec, shape) in codecs().flat_map(|codec| SHAPES.map(|shape| (codec.clone(), shape))) {
        let latent = codec.latent_shape(shape).unwrap();
        assert_eq!(codec.picture_shape(latent).unwrap(), shape, "{codec}");
        let x = noisy(1, 3, shape);
        let z = codec.encode(x.clone());
        assert_eq!(z.dims()[1..], latent, "{codec}");
        let exact = if codec.is_identity() { 0.0 } else { 2e-6 };
        assert!(apart(codec.decode(z.clone()), x.clone()) <= exact, "{codec}");
        assert_eq!(codec.preview(z.clone()).dims(), x.dims(), "{codec}");
        let alone = codec.encode(x.narrow(0, 1, 1));
        assert_eq!(values(alone.clone()), values(z.clone().narrow(0, 1, 1)), "{codec}");
        assert_eq!(values(codec.decode(alone)), values(codec.decode(z).narrow(0, 1, 1)), "{codec}");
    }
}

/// The columns of `encode` are orthonormal, so what is isotropic stays so; variances go by the squares of their entries.
#[test]
fn orthonormal_codecs_are() {
    let shape = [2, 4, 6];
    let dims: usize = shape.iter().product();
    for codec in codecs().filter(|codec| codec.is_orthonormal()) {
        let latent = codec.latent_shape(shape).unwrap();
        let units = (0..dims * dims).map(|i| f32::from(u8::from(i % (dims + 1) == 0))).collect();
        // Row j: the pixels of the unit latent j.
        let pixels = values(codec.decode(tensor(units, latent)));
        let row = |j: usize| &pixels[j * dims..(j + 1) * dims];
        for (i, j) in (0..dims).flat_map(|i| (0..=i).map(move |j| (i, j))) {
            let dot: f32 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
            assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-6, "{codec}: {i} and {j}: {dot}");
        }
        let variances: Vec<f64> = (0..dims).map(|j| 0.1 + (j * j % 7) as f64).collect();
        let of = |i: usize| (0..dims).map(|j| f64::from(row(j)[i]).powi(2) * variances[j]).sum::<f64>();
        let found = codec.pixel_variances(variances.clone(), latent);
        assert_eq!(found.len(), dims, "{codec}");
        assert!(found.iter().enumerate().all(|(i, v)| (v - of(i)).abs() < 1e-6), "{codec}: {found:?}");
    }
}

/// Guesses these latents, whatever it is given.
struct Always(Tensor<4>);

impl Denoise for Always {
    fn denoise(&self, _: Tensor<4>, _: &[At], _: &Cond) -> Guess {
        self.0.clone().into()
    }

    fn device(&self) -> Device {
        self.0.device()
    }
}

#[test]
fn masks_observations_and_clipping_act_on_pixels() {
    for (codec, shape) in codecs().flat_map(|codec| SHAPES.map(|shape| (codec.clone(), shape))) {
        let [_, h, w] = shape;
        let (guess, known) = (noisy(2, 1, shape), noisy(3, 1, shape));
        let inner = || Always(codec.encode(guess.clone()));
        let at = [At::from(NoiseLevel { alpha: 0.6, sigma: 0.8 })];
        let pixels = |denoiser: &dyn Denoise| {
            codec.decode(denoiser.denoise(codec.encode(guess.clone()), &at, &Cond::default()).x0)
        };
        // Every third pixel is known: a mask that no wavelet has.
        let mask: Vec<f32> = (0..h * w).map(|i| f32::from(u8::from(i % 3 > 0))).collect();
        let mask = tensor(mask, [1, h, w]);
        let mixed = guess.clone() * mask.clone() + known.clone() * (1.0 - mask.clone());
        let any = || AnyCodec::from(codec.clone());
        let inpaint = Inpaint::new(inner(), any(), any().known(known.clone(), mask.clone()));
        assert!(apart(pixels(&inpaint), mixed) < 2e-6, "{codec}");

        let precision: Tensor<4> = (1.0 - mask) * 4.0;
        let gain = precision.clone() * (0.8 * 0.8);
        let posterior = Posterior { inner: inner(), codec: any(), observed: known.clone(), precision };
        let expected = (guess.clone() + gain.clone() * known) / (gain + 1.0);
        assert!(apart(pixels(&posterior), expected) < 2e-6, "{codec}");

        let clipped = Clipped { inner: inner(), clipping: Clipping { rule: Clip::Range(0.5), codec: any() } };
        assert!(apart(pixels(&clipped), guess.clone().clamp(-0.5, 0.5)) < 2e-6, "{codec}");
        let rule = Clip::Threshold { ratio: 0.9, max: 1.5 };
        let thresholded = Clipped { inner: inner(), clipping: Clipping { rule, codec: any() } };
        assert!(values(pixels(&thresholded)).iter().all(|x| x.abs() < 1.0 + 2e-6), "{codec}");
    }
}

/// A mixture of Gaussians in pixels, pictures of it, and the likelihoods that its exact denoiser gives through a codec.
struct Case {
    codec: CodecKind,
    oracle: Mixture,
    pictures: TestPictures,
}

const SHAPE: [usize; 3] = [1, 4, 4];

impl Case {
    fn new(codec: CodecKind, n: usize) -> Self {
        let dims: usize = SHAPE.iter().product();
        let means = noisy(7, 3, SHAPE) * 0.5;
        let picks: Vec<usize> = (0..n).map(|k| k * k % 3).collect();
        let x0: Vec<Tensor<4>> = picks.iter().map(|&k| means.clone().narrow(0, k, 1)).collect();
        // Pixel values: 256 in [-1, 1].
        let x0 = Tensor::cat(x0, 0) + noisy(8, n, SHAPE) * 0.1;
        let x0 = ((x0.clamp(-1.0, 1.0) + 1.0) * 127.5).round() / 127.5 - 1.0;
        let means = values(codec.encode(means));
        let components: Vec<_> = means.chunks(dims).map(|mean| (1.0, mean.to_vec(), 0.1)).collect();
        Self {
            oracle: Mixture::new(&components, &Device::flex().autodiff()),
            pictures: TestPictures {
                shape: codec.latent_shape(SHAPE).unwrap(),
                x0: values(codec.encode(x0)),
                codec: codec.clone().into(),
                range: (-1.0, 1.0),
                seeds: (0..n as u64).collect(),
                cond: Cond::default(),
            },
            codec,
        }
    }

    fn plan(&self, schedule: &ScheduleKind) -> Plan {
        likelihood::plan(&Grid::new(&**schedule, &LogSnr {}, 40, Last::Clean).unwrap(), &X0 {}).unwrap()
    }

    /// Bits per dimension of each picture, without the rounding.
    fn flow(&self, dequantize: Dequantize) -> Vec<f64> {
        let schedule: ScheduleKind = "vp".parse().unwrap();
        let settings =
            FlowSettings { trace: Trace::Exact, integrator: DormandPrince::default(), batch: 1000, dequantize };
        let (plan, level_at) = (self.plan(&schedule), |log_snr| schedule.level_at(log_snr));
        let flow = flow::flow(&self.oracle, &plan, &level_at, &self.pictures, &settings, &mut |_, _| true);
        self.bits(&flow.unwrap().nll)
    }

    fn bound(&self, variance: StepVariance) -> Vec<f64> {
        let schedule: ScheduleKind = "vp".parse().unwrap();
        let settings = BoundSettings { evaluations: 40, batch: 1000, dequantize: Dequantize::Gaussian, variance };
        let bound = bound::bound(&self.oracle, &self.plan(&schedule), &self.pictures, &settings, &mut |_, _| true);
        self.bits(&bound.unwrap().total())
    }

    fn bits(&self, nats: &[f64]) -> Vec<f64> {
        nats.iter().map(|n| bits_per_dim(*n, self.pictures.dims())).collect()
    }
}

#[test]
fn a_mixture_is_as_likely_through_every_orthonormal_codec() {
    let pixels = Case::new(CodecKind::default(), 48);
    let truth = [Dequantize::None, Dequantize::Uniform].map(|dequantize| pixels.flow(dequantize));
    let bound = Estimate::of(&pixels.bound(StepVariance::Posterior));
    for codec in codecs().filter(|codec| codec.is_orthonormal()) {
        let case = Case::new(codec, 48);
        for (dequantize, truth) in [Dequantize::None, Dequantize::Uniform].into_iter().zip(&truth) {
            let found = case.flow(dequantize);
            let worst = found.iter().zip(truth).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 0.01, "{} {dequantize:?}: {worst} bits/dim apart", case.codec);
        }
        // The noise of the bound's steps is other noise.
        let found = Estimate::of(&case.bound(StepVariance::Posterior));
        let error = found.standard_error.hypot(bound.standard_error);
        assert!((found.mean - bound.mean).abs() < 3.0 * error, "{}: {found:?} {bound:?}", case.codec);
    }
}
