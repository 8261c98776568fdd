//! Optimizers: how a parameter moves on its gradient.
//!
//! A member is one file with a struct of its options, and one line in the table below; its step is one pass over memory.

use std::fmt::Debug;

use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::Tensor;
use undiffuse_kernels::optimizer;
use undiffuse_math::kind;

use super::cpu;

/// What is told to a step beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Learning rate of this step.
    pub lr: f64,
    /// Steps done before this one.
    pub step: u64,
    /// Multiplies the gradient first: clipping and accumulation.
    pub gradient_scale: f64,
}

/// A rule by which parameters move.
pub trait Optimizer: Debug + Send + Sync {
    /// Names of the tensors that are kept for every parameter, each of its size and zero before the first step. A
    /// checkpoint has them as `NAME.PARAMETER`.
    fn keeps(&self) -> &'static [&'static str];

    /// The parameter after a step on `gradient`; what is kept, and the averages of the parameter (each with its rate:
    /// `average += (parameter − average) · rate`), are updated. All tensors are flat and of one length.
    fn step(
        &self,
        update: &Update,
        parameter: Tensor<1>,
        gradient: Tensor<1>,
        kept: &mut [Tensor<1>],
        averages: &mut [(&mut Tensor<1>, f64)],
    ) -> Tensor<1>;

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String>;
}

kind! {
    /// Every optimizer by name.
    pub enum OptimizerKind: Optimizer, "optimizer" {
        "adamw" in adamw => AdamW, "Adam with decoupled weight decay [Loshchilov19, Algorithm 2]";
    }
}

impl Default for OptimizerKind {
    fn default() -> Self {
        AdamW::default().into()
    }
}

/// The values of a flat tensor of the CPU, alone and without gradients.
fn primitive(t: Tensor<1>) -> FlexTensor {
    t.inner().try_into_primitive::<Flex>().expect("the caller checked the device").to_contiguous()
}

/// `Σ x²` in double precision, in an order that the length alone decides.
pub fn square_sum(x: Tensor<1>) -> f64 {
    if !cpu::runs(&x) {
        return x.powi_scalar(2).sum().into_scalar::<f32>() as f64;
    }
    optimizer::square_sum(cpu::values(&primitive(x)))
}
