//! The promise: what belongs to one image has the same bits for any batch, any position in it and any number of
//! threads, and sums over the batch have the same bits for any number of threads.

mod common;

use common::conv::{Case, Operands};
use common::*;
use std::ops::Range;
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::attention::{self, Attention};
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::norm::{self, Gradients, Norm};

const BATCH: usize = 32;

/// What a pass writes.
struct Outputs {
    /// Each `[image][..]`.
    images: Vec<Vec<f32>>,
    /// Summed over the batch.
    sums: Vec<Vec<f32>>,
}

impl Outputs {
    fn of_images(images: Vec<Vec<f32>>) -> Self {
        Self { images, sums: vec![] }
    }
}

/// The part of `x`, `[BATCH][..]`, of some images.
fn part(x: &[f32], images: Range<usize>) -> &[f32] {
    let image = x.len() / BATCH;
    &x[images.start * image..images.end * image]
}

fn all_bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs.iter().map(|x| bits(x)).collect()
}

/// Checks `run`, which works on some of [`BATCH`] images.
fn check(what: &str, run: impl Fn(Range<usize>) -> Outputs + Sync) {
    let whole = on_threads(1, || run(0..BATCH));
    for images in [0..BATCH, 0..1, 5..6, 31..32, 0..7, 11..18, 30..32, 3..20] {
        let expected: Vec<_> = whole.images.iter().map(|x| bits(part(x, images.clone()))).collect();
        let sums = on_threads(1, || run(images.clone())).sums;
        for threads in [1, 2, 3, 7] {
            let got = on_threads(threads, || run(images.clone()));
            assert!(all_bits(&got.images) == expected, "{what}: images {images:?} on {threads} threads");
            assert!(all_bits(&got.sums) == all_bits(&sums), "{what}: sums of {images:?} on {threads} threads");
        }
    }
}

fn check_convolution(shape: Conv2d) {
    let whole = Operands::new(&Case::full(Conv2d { batch: BATCH, ..shape }));
    check(&format!("{shape:?}"), |images| {
        let shape = Conv2d { batch: images.len(), ..shape };
        let of = |x: &Option<Vec<f32>>| x.as_ref().map(|x| part(x, images.clone()).to_vec());
        let maps = whole.maps.each_ref().map(|m| part(m, images.clone()));
        let (coefficients, shift, residual) =
            (of(&whole.padded_coefficients), of(&whole.shift), of(&whole.residual_map));
        let input = Input { maps, coefficients: coefficients.as_deref(), activation: whole.activation };
        let add = Add { bias: whole.bias.as_deref(), shift: shift.as_deref(), residual: residual.as_deref() };
        let dy = part(&whole.dy_map, images.clone());
        let (mut y, mut dw, mut sums) = (unset(dy.len()), unset(whole.weight.len()), unset(shape.batch * shape.c_out));
        let [mut first, mut second] = maps.map(|m| unset(m.len()));
        conv2d::forward(&shape, &input, &whole.weight, &add, &mut y);
        conv2d::backward_data(&shape, dy, &whole.weight, [&mut first, &mut second]);
        conv2d::backward_weight(&shape, &input, dy, &mut dw, Some(&mut sums));
        Outputs { images: vec![y, first, second, sums], sums: vec![dw] }
    });
}

/// A convolution that keeps the size.
fn same(c_in: [usize; 2], c_out: usize, (h, w): (usize, usize), kernel: usize) -> Conv2d {
    let (kernel, pad) = ((kernel, kernel), [kernel / 2; 4]);
    Conv2d { batch: 1, c_in, h, w, c_out, kernel, stride: 1, pad, upsample: false }
}

#[test]
fn convolutions_of_three_by_three() {
    for size in [(4, 4), (7, 7), (14, 14), (5, 41)] {
        check_convolution(same([16, 0], 80, size, 3));
        check_convolution(same([3, 0], 20, size, 3));
        check_convolution(same([32, 5], 36, size, 3));
    }
    check_convolution(same([130, 0], 64, (8, 8), 3));
    check_convolution(same([16, 0], 20, (32, 32), 3));
}

#[test]
fn other_convolutions() {
    for size in [(4, 4), (7, 7), (14, 14), (5, 41)] {
        check_convolution(same([32, 8], 36, size, 1));
        check_convolution(Conv2d { stride: 2, pad: [0, 0, 1, 1], ..same([20, 0], 70, size, 3) });
        check_convolution(Conv2d { upsample: true, ..same([20, 0], 24, size, 3) });
    }
    check_convolution(same([5, 0], 20, (14, 14), 5));
}

#[test]
fn linear_maps() {
    let (c_in, c_out) = (50, 70);
    let (weight, bias) = (numbers(1, c_out * c_in), numbers(2, c_out));
    for tokens in [1, 5, 64] {
        let (x, dy) = (numbers(3, BATCH * tokens * c_in), numbers(4, BATCH * tokens * c_out));
        check(&format!("linear map of {tokens} rows an image"), |images| {
            let shape = Linear { rows: images.len() * tokens, c_in, c_out };
            let (x, dy) = (part(&x, images.clone()), part(&dy, images));
            let [mut y, mut dx, mut dw, mut db] = [dy.len(), x.len(), weight.len(), c_out].map(unset);
            linear::forward(&shape, x, &weight, Some(&bias), &mut y);
            linear::backward_data(&shape, dy, &weight, &mut dx);
            linear::backward_weight(&shape, x, dy, &mut dw, Some(&mut db));
            Outputs { images: vec![y, dx], sums: vec![dw, db] }
        });
    }
}

#[test]
fn norms() {
    for (channels, pixels, groups) in [([8, 0], 49, 2), ([32, 0], 64, 32), ([192, 0], 300, 32), ([16, 5], 200, 3)] {
        let all = channels[0] + channels[1];
        let [x, dy] = [1, 2].map(|seed| to_maps(&numbers(seed, BATCH * all * pixels), channels, pixels));
        let [gamma, beta] = [3, 4].map(|seed| numbers(seed, all));
        let modulation = numbers(5, BATCH * 2 * all);
        check(&format!("norm of {channels:?}, {pixels}, {groups}"), |images| {
            let batch = images.len();
            let shape = Norm { batch, channels, pixels, groups, eps: 1e-5, activation: Activation::Silu };
            let maps = x.each_ref().map(|x| part(x, images.clone()));
            let modulation = Some(part(&modulation, images.clone()));
            let [mut statistics, mut coefficients] = [shape.statistics_len(), shape.coefficients_len()].map(unset);
            norm::statistics(&shape, maps, &mut statistics);
            norm::coefficients(&shape, &statistics, [&gamma, &beta], modulation, &mut coefficients);
            let [mut y0, mut y1] = maps.map(|m| unset(m.len()));
            norm::forward(&shape, maps, &coefficients, [&mut y0, &mut y1]);
            let [mut d0, mut d1] = dy.each_ref().map(|dy| part(dy, images.clone()).to_vec());
            let [mut dgamma, mut dbeta, mut d_modulation] = [all, all, batch * 2 * all].map(unset);
            norm::backward(
                &shape,
                maps,
                [&statistics, &coefficients],
                [&gamma, &beta],
                modulation,
                [&mut d0, &mut d1],
                [Some(maps[0]), None],
                Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: Some(&mut d_modulation) },
            );
            Outputs { images: vec![statistics, coefficients, y0, y1, d0, d1, d_modulation], sums: vec![dgamma, dbeta] }
        });
    }
}

#[test]
fn attentions() {
    for (heads, length, dim) in [(1, 100, 16), (3, 49, 24), (2, 64, 32), (3, 30, 8)] {
        let tensors =
            [1, 2, 3, 4].map(|seed| to_map(&numbers(seed, BATCH * heads * dim * length), heads * dim, length));
        check(&format!("attention of {heads} × {length} × {dim}"), |images| {
            let shape = Attention { batch: images.len(), heads, length, dim, scale: 0.3 };
            let [q, k, v, d_o] = tensors.each_ref().map(|t| part(t, images.clone()));
            let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| unset(q.len()));
            attention::forward(&shape, [q, k, v], &mut o);
            attention::backward(&shape, [q, k, v], d_o, [&mut dq, &mut dk, &mut dv]);
            Outputs::of_images(vec![o, dq, dk, dv])
        });
    }
}

/// Numbers that are none, in one image, reach neither its neighbours nor, through reused memory, later calls.
#[test]
fn a_bad_image_harms_no_other() {
    for shape in [
        same([16, 0], 33, (7, 7), 3),
        same([32, 4], 17, (32, 32), 3),
        same([3, 0], 16, (9, 9), 3),
        Conv2d { stride: 2, ..same([20, 0], 12, (9, 9), 3) },
        Conv2d { upsample: true, ..same([20, 0], 12, (5, 5), 3) },
        same([24, 0], 8, (7, 7), 1),
    ] {
        let shape = Conv2d { batch: 3, ..shape };
        let good = Operands::new(&Case::full(shape));
        let mut bad = Operands::new(&Case::full(shape));
        for x in bad.maps.iter_mut().chain([&mut bad.dy_map]) {
            let image = x.len() / 3;
            x[image..2 * image].iter_mut().filter(|x| **x != 0.0).for_each(|x| *x = f32::NAN);
        }
        // Padding stays zero, so results are compared as maps.
        let run = |operands: &Operands| {
            let mut maps = [&operands.dy_map, &operands.maps[0], &operands.maps[1]].map(|m| unset(m.len()));
            let [y, first, second] = &mut maps;
            let (mut dw, mut sums) = (unset(operands.weight.len()), unset(3 * shape.c_out));
            conv2d::forward(&shape, &operands.input(), &operands.weight, &operands.add(), y);
            conv2d::backward_data(&shape, &operands.dy_map, &operands.weight, [first, second]);
            conv2d::backward_weight(&shape, &operands.input(), &operands.dy_map, &mut dw, Some(&mut sums));
            let [y, first, second] = maps;
            (all_bits(&[y, first, second, sums]), bits(&dw))
        };
        on_threads(1, || {
            let clean = run(&good);
            let harmed = run(&bad);
            for (harmed, clean) in harmed.0.iter().zip(&clean.0) {
                let image = clean.len() / 3;
                for n in [0, 2] {
                    let range = n * image..(n + 1) * image;
                    assert!(harmed[range.clone()] == clean[range], "image {n} of {shape:?}");
                }
            }
            assert!(run(&good) == clean, "a later call of {shape:?}");
        });
    }
}
