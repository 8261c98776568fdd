//! Every operation as a composition of Burn's standard ones: the meaning of the names in
//! [`ops`](super), and the body that GPUs run.

use burn::tensor::{Int, Tensor, TensorData, module, ops::ConvOptions};

use super::{Activation, Added, Conv, LayerNorm, Mask, Norm};

/// See [`super::conv2d`].
pub fn conv2d(x: Tensor<4>, norm: Option<Norm>, conv: Conv, added: Added) -> Tensor<4> {
    let x = match norm {
        Some(norm) => normalize(x, norm),
        None => x,
    };
    let x = if conv.upsample { upsample_nearest(x) } else { x };
    let [top, left, bottom, right] = conv.padding;
    let (x, padding) = if top == bottom && left == right { (x, [top, left]) } else { (pad(x, conv.padding), [0, 0]) };
    let options = ConvOptions::new([conv.stride; 2], padding, [1, 1], 1);
    let y = module::conv2d(x, conv.weight, conv.bias, options);
    let y = match added.shift {
        Some(shift) => {
            let [b, c] = shift.dims();
            y + shift.reshape([b, c, 1, 1])
        }
        None => y,
    };
    match added.residual {
        Some(residual) => y + residual.into_tensor(),
        None => y,
    }
}

/// Zeros around an image: top, left, bottom, right.
fn pad(x: Tensor<4>, [top, left, bottom, right]: [usize; 4]) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let device = x.device();
    let zeros = |h, w| Tensor::zeros([b, c, h, w], &device);
    let x = Tensor::cat(vec![zeros(h, left), x, zeros(h, right)], 3);
    Tensor::cat(vec![zeros(top, left + w + right), x, zeros(bottom, left + w + right)], 2)
}

/// Nearest-neighbour enlargement by two: `[B, C, H, W]` → `[B, C, 2H, 2W]`.
pub fn upsample_nearest(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w])
}

/// See [`super::linear`].
pub fn linear(x: Tensor<2>, before: Option<Activation>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let x = match before {
        Some(activation) => activation.apply(x),
        None => x,
    };
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// See [`super::Activation::GeluTanh`].
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    x * (inner.tanh() + 1.0) * 0.5
}

/// See [`super::layer_norm`].
pub fn layer_norm(x: Tensor<3>, norm: LayerNorm) -> Tensor<3> {
    let [b, _, c] = x.dims();
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normal = centred / (variance + norm.eps).sqrt();
    let z = match norm.affine {
        Some([gain, offset]) => normal * gain.reshape([1, 1, c]) + offset.reshape([1, 1, c]),
        None => normal,
    };
    match norm.modulation {
        Some(modulation) => {
            let [scale, shift] = modulation.map(|m| m.reshape([b, 1, c]));
            z * (scale + 1.0) + shift
        }
        None => z,
    }
}

/// See [`super::gate`].
pub fn gate(x: Tensor<3>, gate: Tensor<2>, y: Tensor<3>) -> Tensor<3> {
    let [b, c] = gate.dims();
    x + y * gate.reshape([b, 1, c])
}

/// See [`super::gated`].
pub fn gated(x: Tensor<3>, activation: Activation) -> Tensor<3> {
    let width = x.dims()[2] / 2;
    let [a, b] = [0, width].map(|first| x.clone().narrow(2, first, width));
    a * activation.apply(b)
}

/// See [`super::token_attention`].
pub fn token_attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, mask: Mask) -> Tensor<3> {
    let (dims @ [b, n, c], [_, m, _]) = (q.dims(), k.dims());
    let apart = |x: Tensor<3>| {
        let [b, n, _] = x.dims();
        x.reshape([b, n, heads, c / heads]).swap_dims(1, 2)
    };
    let [q, k, v] = [q, k, v].map(apart);
    let scores = q.matmul(k.transpose()) / ((c / heads) as f64).sqrt();
    let scores = match mask.bias {
        Some(bias) => scores + bias.detach().clamp_min(-1e30).reshape([b, 1, 1, m]),
        None => scores,
    };
    let scores = match mask.causal {
        true => {
            let later: Vec<f32> =
                (0..n).flat_map(|i| (0..m).map(move |j| if j > i { f32::MIN } else { 0.0 })).collect();
            scores.clone() + Tensor::from_data(TensorData::new(later, [1, 1, n, m]), &scores.device())
        }
        false => scores,
    };
    burn::tensor::activation::softmax(scores, 3).matmul(v).swap_dims(1, 2).reshape(dims)
}

/// See [`super::embedding`].
pub fn embedding(table: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let n = rows.len();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), &table.device());
    table.select(0, rows)
}

/// See [`super::normalize`].
pub fn normalize(x: Tensor<4>, norm: Norm) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, norm.groups, c / norm.groups * h * w]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normal = (centred / (variance + norm.eps).sqrt()).reshape([b, c, h, w]);
    let z = normal * norm.gamma.reshape([1, c, 1, 1]) + norm.beta.reshape([1, c, 1, 1]);
    let z = match norm.modulation {
        Some(modulation) => {
            let [scale, shift] = [0, c].map(|at| modulation.clone().narrow(1, at, c).reshape([b, c, 1, 1]));
            z * (scale + 1.0) + shift
        }
        None => z,
    };
    match norm.activation {
        Some(activation) => activation.apply(z),
        None => z,
    }
}

/// See [`super::attention`].
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, head_dim: usize) -> Tensor<4> {
    let [b, c, h, w] = q.dims();
    let heads = |x: Tensor<4>| x.reshape([b, c / head_dim, head_dim, h * w]).swap_dims(2, 3);
    let (q, k, v) = (heads(q), heads(k), heads(v));
    let scores = q.matmul(k.transpose()) / (head_dim as f64).sqrt();
    burn::tensor::activation::softmax(scores, 3).matmul(v).swap_dims(2, 3).reshape([b, c, h, w])
}
