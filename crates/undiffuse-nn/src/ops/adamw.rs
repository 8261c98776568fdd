//! One AdamW step on a flat parameter.

use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::cpu;

/// The numbers of one AdamW step \[Loshchilov19, Alg. 2\].
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Steps done before this one.
    pub step: u64,
    /// Multiplies the gradient first: clipping and accumulation.
    pub gradient_scale: f64,
}

impl AdamW {
    /// `(lr / (1 − β₁ᵗ), 1 / √(1 − β₂ᵗ))`.
    fn corrections(&self) -> (f64, f64) {
        let t = (self.step + 1) as i32;
        (self.lr / (1.0 - self.beta1.powi(t)), 1.0 / (1.0 - self.beta2.powi(t)).sqrt())
    }
}

/// Values that one chunk of the CPU step works on.
const CHUNK: usize = 1 << 14;

/// Updates `param` and its moments `(m, v)` with `gradient`; all are flat and of one length.
pub fn adamw(param: Tensor<1>, gradient: Tensor<1>, moments: &mut (Tensor<1>, Tensor<1>), h: &AdamW) -> Tensor<1> {
    if cpu::runs(&param) { on_cpu(param, gradient, moments, h) } else { with_tensors(param, gradient, moments, h) }
}

fn with_tensors(p: Tensor<1>, g: Tensor<1>, moments: &mut (Tensor<1>, Tensor<1>), h: &AdamW) -> Tensor<1> {
    let (lr, root) = h.corrections();
    let g = g * h.gradient_scale;
    let m = moments.0.clone() * h.beta1 + g.clone() * (1.0 - h.beta1);
    let v = moments.1.clone() * h.beta2 + g.clone() * g * (1.0 - h.beta2);
    *moments = (m.clone(), v.clone());
    p * (1.0 - h.lr * h.weight_decay) - m * lr / (v.sqrt() * root + h.eps)
}

/// All four vectors in one pass over memory, in place.
fn on_cpu(p: Tensor<1>, g: Tensor<1>, moments: &mut (Tensor<1>, Tensor<1>), h: &AdamW) -> Tensor<1> {
    let (lr, root) = h.corrections();
    let [lr, root, beta1, beta2, eps] = [lr, root, h.beta1, h.beta2, h.eps].map(|x| x as f32);
    let (keep, scale) = ((1.0 - h.lr * h.weight_decay) as f32, h.gradient_scale as f32);
    let [mut p, g] = [p, g].map(primitive);
    let [mut m, mut v] = [&mut moments.0, &mut moments.1].map(|t| primitive(t.extract()));
    let g = cpu::values(&g);
    p.storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .zip(m.storage_mut::<f32>().par_chunks_mut(CHUNK))
        .zip(v.storage_mut::<f32>().par_chunks_mut(CHUNK))
        .zip(g.par_chunks(CHUNK))
        .for_each(|(((p, m), v), g)| {
            for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                let g = g * scale;
                *m = *m * beta1 + g * (1.0 - beta1);
                *v = *v * beta2 + g * g * (1.0 - beta2);
                *p = *p * keep - *m * lr / (v.sqrt() * root + eps);
            }
        });
    *moments = (Tensor::from_primitive::<Flex>(m), Tensor::from_primitive::<Flex>(v));
    Tensor::from_primitive::<Flex>(p)
}

fn primitive(t: Tensor<1>) -> FlexTensor {
    t.inner().try_into_primitive::<Flex>().expect("the caller checked the device").to_contiguous()
}

/// Moves an average toward `value`: `average + (value − average) · rate`.
pub fn average_toward(average: Tensor<1>, value: Tensor<1>, rate: f64) -> Tensor<1> {
    if !cpu::runs(&average) {
        return average.clone() + (value - average) * rate;
    }
    let (mut a, v, rate) = (primitive(average), primitive(value), rate as f32);
    let values = cpu::values(&v);
    a.storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .for_each(|(a, v)| a.iter_mut().zip(v).for_each(|(a, &v)| *a += (v - *a) * rate));
    Tensor::from_primitive::<Flex>(a)
}

/// `Σ x²` in double precision, in an order that the length alone decides.
pub fn square_sum(x: Tensor<1>) -> f64 {
    if !cpu::runs(&x) {
        return x.powi_scalar(2).sum().into_scalar::<f32>() as f64;
    }
    let x = primitive(x);
    let partial: Vec<f64> =
        cpu::values(&x).par_chunks(CHUNK).map(|c| c.iter().map(|&x| x as f64 * x as f64).sum()).collect();
    partial.iter().sum()
}
