//! One AdamW step on a flat parameter, with the averages that follow it.

use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::Tensor;
use undiffuse_kernels::optimizer;

use super::cpu;

pub use undiffuse_kernels::optimizer::AdamW;

/// Updates `param`, its moments `(m, v)` and its averages (each with its rate: `average += (param − average) · rate`) with
/// `gradient`. All are flat and of one length.
pub fn adamw(
    param: Tensor<1>,
    gradient: Tensor<1>,
    moments: &mut (Tensor<1>, Tensor<1>),
    averages: &mut [(&mut Tensor<1>, f64)],
    h: &AdamW,
) -> Tensor<1> {
    if cpu::runs(&param) {
        on_cpu(param, gradient, moments, averages, h)
    } else {
        with_tensors(param, gradient, moments, averages, h)
    }
}

fn with_tensors(
    p: Tensor<1>,
    g: Tensor<1>,
    moments: &mut (Tensor<1>, Tensor<1>),
    averages: &mut [(&mut Tensor<1>, f64)],
    h: &AdamW,
) -> Tensor<1> {
    let (lr, root) = h.corrections();
    let g = g * h.gradient_scale;
    let m = moments.0.clone() * h.beta1 + g.clone() * (1.0 - h.beta1);
    let v = moments.1.clone() * h.beta2 + g.clone() * g * (1.0 - h.beta2);
    *moments = (m.clone(), v.clone());
    let p = p * (1.0 - h.lr * h.weight_decay) - m * lr / (v.sqrt() * root + h.eps);
    for (average, rate) in averages {
        **average = average.clone() + (p.clone() - average.clone()) * *rate;
    }
    p
}

/// All vectors in one pass over memory, in place where nobody else holds them.
fn on_cpu(
    p: Tensor<1>,
    g: Tensor<1>,
    moments: &mut (Tensor<1>, Tensor<1>),
    averages: &mut [(&mut Tensor<1>, f64)],
    h: &AdamW,
) -> Tensor<1> {
    let [mut p, g] = [p, g].map(primitive);
    let [mut m, mut v] = [&mut moments.0, &mut moments.1].map(|t| primitive(t.extract()));
    let mut own: Vec<(FlexTensor, f64)> =
        averages.iter_mut().map(|(a, rate)| (primitive(a.extract()), *rate)).collect();
    let slices = own.iter_mut().map(|(a, rate)| (a.storage_mut::<f32>(), *rate)).collect();
    let [m_values, v_values] = [&mut m, &mut v].map(|t| t.storage_mut::<f32>());
    optimizer::step(h, p.storage_mut::<f32>(), cpu::values(&g), [m_values, v_values], slices);
    *moments = (Tensor::from_primitive::<Flex>(m), Tensor::from_primitive::<Flex>(v));
    for ((average, _), own) in averages.iter_mut().zip(own) {
        **average = Tensor::from_primitive::<Flex>(own.0);
    }
    Tensor::from_primitive::<Flex>(p)
}

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
