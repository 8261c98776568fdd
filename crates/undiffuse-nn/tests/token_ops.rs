//! The operations on tokens: both bodies give the same outputs and gradients. (The kernels' own tests hold them to the
//! formulas in double precision, the networks' to diffusers.)

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_math::noise;
use undiffuse_nn::ops::{self, Activation, LayerNorm, Map, Mask, reference};

fn device() -> Device {
    Device::flex().autodiff()
}

/// A leaf of normal numbers that differ for every `seed`.
fn leaf<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let mut values = vec![0.0; shape.iter().product()];
    noise::normal(seed, 0, 0, &mut values);
    Tensor::from_data(TensorData::new(values, shape), &device()).require_grad()
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec::<f32>().unwrap()
}

/// An output and the gradients of leaves under a loss that weighs every number of it differently.
macro_rules! run {
    ($y:expr, [$($leaf:expr),*]) => {{
        let y = $y;
        let gradients = (y.clone() * leaf(99, y.dims()).detach()).sum().backward();
        vec![numbers(y), $(numbers($leaf.grad(&gradients).expect("a gradient"))),*]
    }};
}

#[track_caller]
fn assert_same(kernels: Vec<Vec<f32>>, reference: Vec<Vec<f32>>, what: &str) {
    assert_eq!(kernels.len(), reference.len());
    for (i, (a, b)) in kernels.iter().zip(&reference).enumerate() {
        assert_eq!(a.len(), b.len(), "{what}: {i}");
        let scale = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        let error = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
        assert!(error < 2e-5, "{what}: tensor {i} differs by {error:e} of its largest number");
    }
}

#[test]
fn layer_norm() {
    for (b, n, c) in [(1, 1, 5), (3, 7, 20), (9, 70, 33)] {
        for (affine, modulation) in [(false, false), (true, false), (false, true), (true, true)] {
            let x = leaf(1, [b, n, c]);
            let (gain, offset) = (leaf(2, [c]), leaf(3, [c]));
            let (scale, shift) = (leaf(4, [b, c]), leaf(5, [b, c]));
            let norm = LayerNorm {
                affine: affine.then(|| [gain.clone(), offset.clone()]),
                eps: 1e-5,
                modulation: modulation.then(|| [scale.clone(), shift.clone()]),
            };
            let what = format!("layer norm of {b} x {n} x {c}, affine {affine}, modulation {modulation}");
            macro_rules! of {
                ($body:expr) => {
                    match (affine, modulation) {
                        (false, false) => run!($body(x.clone(), norm.clone()), [x]),
                        (true, false) => run!($body(x.clone(), norm.clone()), [x, gain, offset]),
                        (false, true) => run!($body(x.clone(), norm.clone()), [x, scale, shift]),
                        (true, true) => run!($body(x.clone(), norm.clone()), [x, gain, offset, scale, shift]),
                    }
                };
            }
            assert_same(of!(ops::layer_norm), of!(reference::layer_norm), &what);
        }
    }
}

#[test]
fn gate() {
    let (x, g, y) = (leaf(1, [9, 70, 33]), leaf(2, [9, 33]), leaf(3, [9, 70, 33]));
    let run =
        |gate: fn(Tensor<3>, Tensor<2>, Tensor<3>) -> Tensor<3>| run!(gate(x.clone(), g.clone(), y.clone()), [x, g, y]);
    assert_same(run(ops::gate), run(reference::gate), "gate");
}

#[test]
fn gated() {
    for activation in [Activation::Gelu, Activation::Silu] {
        let x = leaf(1, [3, 70, 66]);
        let run = |gated: fn(Tensor<3>, Activation) -> Tensor<3>| run!(gated(x.clone(), activation), [x]);
        assert_same(run(ops::gated), run(reference::gated), &format!("gated by {activation:?}"));
    }
}

/// Pixels as tokens and back, beside the same by Burn's operations on planes.
#[test]
fn maps_as_tokens() {
    for (c, h, w) in [(16, 4, 5), (20, 9, 8), (5, 1, 3)] {
        let x = leaf(1, [3, c, h, w]);
        let tokens = || x.clone().reshape([3, c, h * w]).swap_dims(1, 2);
        assert_same(run!(Map::from(x.clone()).into_tokens(), [x]), run!(tokens(), [x]), "tokens");
        let back = run!(Map::from_tokens(tokens() * 2.0, [h, w]).into_tensor(), [x]);
        assert_same(back, run!(x.clone() * 2.0, [x]), "tokens and back");
    }
}

#[test]
fn attention() {
    for (n, m, heads, dim) in [(1, 1, 1, 4), (7, 20, 3, 5), (64, 64, 6, 64), (33, 77, 2, 16)] {
        let (q, k, v) = (leaf(1, [3, n, heads * dim]), leaf(2, [3, m, heads * dim]), leaf(3, [3, m, heads * dim]));
        let counts = |j: usize| if j % 5 == 4 { f32::NEG_INFINITY } else { 0.1 * (j % 3) as f32 };
        let bias = Tensor::from_data(TensorData::new((0..3 * m).map(counts).collect(), [3, m]), &device());
        for (causal, bias) in [(false, None), (true, None), (false, Some(bias.clone())), (true, Some(bias))] {
            let what =
                format!("{heads} heads of {dim}, {n} queries, {m} keys, causal {causal}, bias {}", bias.is_some());
            let run = |attention: fn(Tensor<3>, Tensor<3>, Tensor<3>, usize, Mask) -> Tensor<3>| {
                let mask = Mask { causal, bias: bias.clone() };
                run!(attention(q.clone(), k.clone(), v.clone(), heads, mask), [q, k, v])
            };
            assert_same(run(ops::token_attention), run(reference::token_attention), &what);
        }
    }
}

#[test]
fn linear() {
    for before in [None, Some(Activation::Silu), Some(Activation::GeluTanh), Some(Activation::QuickGelu)] {
        let (x, weight, bias) = (leaf(1, [9, 20, 33]), leaf(2, [50, 33]), leaf(3, [50]));
        let plain = |bias: Option<Tensor<1>>| {
            let y = reference::linear(x.clone().reshape([180, 33]), before, weight.clone(), bias);
            y.reshape([9, 20, 50])
        };
        let kernels = |bias| ops::linear(x.clone(), before, weight.clone(), bias);
        let what = format!("linear after {before:?}");
        let all = |y: &dyn Fn(Option<Tensor<1>>) -> Tensor<3>| run!(y(Some(bias.clone())), [x, weight, bias]);
        assert_same(all(&kernels), all(&plain), &what);
        let unbiased = |y: &dyn Fn(Option<Tensor<1>>) -> Tensor<3>| run!(y(None), [x, weight]);
        assert_same(unbiased(&kernels), unbiased(&plain), &format!("{what}, without offsets"));
    }
}

#[test]
fn embedding() {
    let table = leaf(1, [7, 20]);
    let rows: Vec<usize> = (0..30).map(|i| i * i % 5).collect();
    let kernels = run!(ops::embedding(table.clone(), &rows, 3), [table]);
    assert_same(kernels, run!(reference::embedding(table.clone(), &rows), [table]), "embedding");
}
