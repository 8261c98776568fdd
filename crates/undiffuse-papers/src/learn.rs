//! Small models: a list of flat parameters, Adam, and an average of where they have been.

use undiffuse::burn::tensor::{Device, Tensor, TensorData};
use undiffuse::nn::ops::optim::{AdamW, Optimizer, Update};
use undiffuse_math::noise;

/// Parameters and what their optimiser remembers.
///
/// Every parameter is flat; a model reshapes it where it is used, so one list serves any model.
pub struct Learner {
    values: Vec<Tensor<1>>,
    moments: Vec<[Tensor<1>; 2]>,
    averages: Vec<Tensor<1>>,
    device: Device,
    done: u64,
}

/// How a step is made.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Learning rate.
    pub rate: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Share by which the averages move toward the new parameters.
    pub average: f64,
}

impl Learner {
    /// The parameters before the first step, trained on `device`.
    pub fn new(values: Vec<Vec<f32>>, device: &Device) -> Self {
        let device = device.clone().autodiff();
        let averages: Vec<Tensor<1>> = values.into_iter().map(|v| tensor(v, &device).inner()).collect();
        let moments = averages.iter().map(|v| [v.zeros_like(), v.zeros_like()]).collect();
        let values = averages.iter().map(|v| Tensor::from_inner(v.clone())).collect();
        Self { values, moments, averages, device, done: 0 }
    }

    /// The device with gradients, on which a loss has to be formed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// One Adam step on the loss of the parameters; returns its value.
    pub fn step(&mut self, h: Step, loss: impl FnOnce(&[Tensor<1>]) -> Tensor<1>) -> f64 {
        let leaves: Vec<Tensor<1>> = self.values.drain(..).map(Tensor::require_grad).collect();
        let loss = loss(&leaves);
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let gradients = loss.backward();
        let adam = AdamW { betas: [0.9, h.beta2], eps: 1e-8, weight_decay: 0.0 };
        let update = Update { lr: h.rate, step: self.done, gradient_scale: 1.0 };
        for ((leaf, moments), average) in leaves.into_iter().zip(&mut self.moments).zip(&mut self.averages) {
            let gradient = leaf.grad(&gradients);
            let value = leaf.inner();
            let new = match gradient {
                Some(gradient) => adam.step(&update, value, gradient, moments, &mut [(average, h.average)]),
                None => value,
            };
            self.values.push(Tensor::from_inner(new));
        }
        self.done += 1;
        value
    }

    /// The averages, on the host.
    pub fn averaged(&self) -> Vec<Vec<f32>> {
        self.averages.iter().map(|a| host(a.clone())).collect()
    }
}

/// A flat tensor from values.
pub fn tensor(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// A tensor's values.
pub fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec_as::<f32>().expect("experiments use float tensors")
}

/// `n` normals of standard deviation `std` from a stream.
pub fn normals(seed: u64, stream: u64, n: usize, std: f64) -> Vec<f32> {
    let mut out = vec![0.0; n];
    noise::normal(seed, stream, 0, &mut out);
    out.iter_mut().for_each(|v| *v *= std as f32);
    out
}

/// Falls from 1 to 0 over a run as half a cosine, after a warm-up of the first hundredth.
pub fn cosine(step: usize, steps: usize) -> f64 {
    let done = step as f64 / steps as f64;
    (done * 100.0).min(1.0) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// Mean and its standard error; the error of a single value is NaN.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (mean, (square / (n - 1.0) / n).sqrt())
}
