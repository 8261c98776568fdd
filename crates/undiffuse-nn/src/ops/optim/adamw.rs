//! Adam with decoupled weight decay \[Loshchilov19, Algorithm 2\].

use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use undiffuse_kernels::optimizer;

use super::{Optimizer, Update, primitive};
use crate::ops::cpu;

/// With `g` the scaled gradient: `m = β₁ m + (1 − β₁) g`, `v = β₂ v + (1 − β₂) g²`,
/// `p = p (1 − lr · decay) − lr m̂ / (√v̂ + eps)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamW {
    /// Decays of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
    }
}

impl Optimizer for AdamW {
    fn keeps(&self) -> &'static [&'static str] {
        &["adam.m", "adam.v"]
    }

    fn step(
        &self,
        update: &Update,
        parameter: Tensor<1>,
        gradient: Tensor<1>,
        kept: &mut [Tensor<1>],
        averages: &mut [(&mut Tensor<1>, f64)],
    ) -> Tensor<1> {
        let Update { lr, step, gradient_scale } = *update;
        let Self { betas: [beta1, beta2], eps, weight_decay } = *self;
        let h = optimizer::AdamW { lr, beta1, beta2, eps, weight_decay, step, gradient_scale };
        let [m, v] = kept else { unreachable!("two moments are kept") };
        if cpu::runs(&parameter) {
            on_cpu(parameter, gradient, [m, v], averages, &h)
        } else {
            with_tensors(parameter, gradient, [m, v], averages, &h)
        }
    }

    fn check(&self) -> Result<(), String> {
        let Self { betas, eps, weight_decay } = self;
        if !betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err(format!("betas = {betas:?} must be in [0, 1)"));
        }
        if !(*eps > 0.0 && eps.is_finite()) {
            return Err(format!("eps = {eps} must be a positive number"));
        }
        if !(*weight_decay >= 0.0 && weight_decay.is_finite()) {
            return Err(format!("weight_decay = {weight_decay} must be a number that is not negative"));
        }
        Ok(())
    }
}

fn with_tensors(
    p: Tensor<1>,
    g: Tensor<1>,
    [m, v]: [&mut Tensor<1>; 2],
    averages: &mut [(&mut Tensor<1>, f64)],
    h: &optimizer::AdamW,
) -> Tensor<1> {
    let (lr, root) = h.corrections();
    let g = g * h.gradient_scale;
    *m = m.clone() * h.beta1 + g.clone() * (1.0 - h.beta1);
    *v = v.clone() * h.beta2 + g.clone() * g * (1.0 - h.beta2);
    let p = p * (1.0 - h.lr * h.weight_decay) - m.clone() * lr / (v.clone().sqrt() * root + h.eps);
    for (average, rate) in averages {
        **average = average.clone() + (p.clone() - average.clone()) * *rate;
    }
    p
}

/// All vectors in one pass over memory, in place where nobody else holds them.
fn on_cpu(
    p: Tensor<1>,
    g: Tensor<1>,
    moments: [&mut Tensor<1>; 2],
    averages: &mut [(&mut Tensor<1>, f64)],
    h: &optimizer::AdamW,
) -> Tensor<1> {
    let [mut p, g] = [p, g].map(primitive);
    let [m, v] = moments;
    let [mut m_own, mut v_own] = [&mut *m, &mut *v].map(|t| primitive(t.extract()));
    let mut own: Vec<(FlexTensor, f64)> =
        averages.iter_mut().map(|(a, rate)| (primitive(a.extract()), *rate)).collect();
    let slices = own.iter_mut().map(|(a, rate)| (a.storage_mut::<f32>(), *rate)).collect();
    let moments = [&mut m_own, &mut v_own].map(|t| t.storage_mut::<f32>());
    optimizer::step(h, p.storage_mut::<f32>(), cpu::values(&g), moments, slices);
    (*m, *v) = (Tensor::from_primitive::<Flex>(m_own), Tensor::from_primitive::<Flex>(v_own));
    for ((average, _), own) in averages.iter_mut().zip(own) {
        **average = Tensor::from_primitive::<Flex>(own.0);
    }
    Tensor::from_primitive::<Flex>(p)
}
