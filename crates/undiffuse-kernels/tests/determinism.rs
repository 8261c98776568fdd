//! The promise: what belongs to one image has the same bits for any batch, any position in it and any number of
//! threads; sums over the batch have the same bits for any number of threads, and for parts of the batch that are
//! subtrees, computed alone.

mod common;

use common::conv::{Case, Operands};
use common::*;
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::attention::{self, Attention, Layout, Mask};
use undiffuse_kernels::conv2d::{self, Add, Conv2d};
use undiffuse_kernels::gate::{self, Gate};
use undiffuse_kernels::layer_norm::{self, Gradients, LayerNorm, Line};
use undiffuse_kernels::linear::{self, Input, Linear};
use undiffuse_kernels::norm::{self, Norm};
use undiffuse_kernels::tree::Tree;

const BATCH: usize = 32;

/// The share of `t` that belongs to some of all images.
fn images(t: &[f32], first: usize, batch: usize) -> &[f32] {
    let one = t.len() / BATCH;
    &t[first * one..][..batch * one]
}

/// Checks `run(first, batch)`, which returns outputs of so many images from the first one on, and sums over the batch.
fn check(what: &str, run: impl Fn(usize, usize) -> (Vec<Vec<f32>>, Vec<f32>) + Sync) {
    let (whole, sums) = on_threads(1, || run(0, BATCH));
    for threads in [2, 3, 7] {
        let (again, sums_again) = on_threads(threads, || run(0, BATCH));
        for (i, (again, whole)) in again.iter().zip(&whole).enumerate() {
            assert!(bits(again) == bits(whole), "{what}: output {i} differs on {threads} threads");
        }
        assert!(bits(&sums_again) == bits(&sums), "{what}: sums differ on {threads} threads");
    }
    for (first, batch) in [(0, 1), (5, 1), (31, 1), (0, 7), (11, 7), (30, 2)] {
        let (_, sums) = on_threads(1, || run(first, batch));
        for threads in [1, 2, 7] {
            let (part, sums_again) = on_threads(threads, || run(first, batch));
            assert!(bits(&sums_again) == bits(&sums), "{what}: sums of a batch of {batch} differ on {threads} threads");
            for (i, (part, whole)) in part.iter().zip(&whole).enumerate() {
                let same = bits(part) == bits(images(whole, first, batch));
                assert!(same, "{what}: output {i} of images {first}.. of a batch of {batch} on {threads} threads");
            }
        }
    }
    for (batch, part) in [(BATCH, 16), (BATCH, 8), (29, 16), (23, 8)] {
        let (_, whole) = on_threads(2, || run(0, batch));
        let mut tree = Tree::default();
        for first in (0..batch).step_by(part) {
            let (_, sums) = on_threads(1 + first % 3, || run(first, part.min(batch - first)));
            tree.push(sums, add);
        }
        let sums = tree.total(add).unwrap();
        assert!(bits(&sums) == bits(&whole), "{what}: sums of {batch} images by parts of {part}");
    }
}

#[allow(clippy::ptr_arg)] // the tree sums vectors
fn add(a: &mut Vec<f32>, b: Vec<f32>) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

fn check_conv(shape: Conv2d) {
    let of = |batch| Conv2d { batch, ..shape };
    let all = Operands::new(&Case::full(of(BATCH)));
    let option = |t: &Option<Vec<f32>>| t.clone().unwrap_or_default();
    let (coefficients, shift, residual) =
        (option(&all.padded_coefficients), option(&all.shift), option(&all.residual_map));
    check(&format!("{shape:?}"), |first, batch| {
        let part = |t| images(t, first, batch);
        let maps = [part(&all.maps[0]), part(&all.maps[1])];
        let input = conv2d::Input { maps, coefficients: Some(part(&coefficients)), activation: all.activation };
        let add = Add { bias: all.bias.as_deref(), shift: Some(part(&shift)), residual: Some(part(&residual)) };
        let dy = part(&all.dy_map);
        let (mut y, mut dx) = (unset(dy.len()), maps.map(|m| unset(m.len())));
        let (mut dw, mut sums) = (unset(all.weight.len()), unset(batch * shape.c_out));
        let [dx0, dx1] = &mut dx;
        conv2d::forward(&of(batch), &input, &all.weight, &add, &mut y);
        conv2d::backward_data(&of(batch), dy, &all.weight, [dx0, dx1]);
        conv2d::backward_weight(&of(batch), &input, dy, &mut dw, Some(&mut sums));
        let [dx0, dx1] = dx;
        (vec![y, dx0, dx1, sums], dw)
    });
}

#[test]
fn convolutions() {
    for (h, w) in [(4, 4), (7, 7), (14, 14), (32, 32), (5, 41)] {
        let same = |c_in, c_out| Conv2d {
            batch: 0,
            c_in,
            h,
            w,
            c_out,
            kernel: (3, 3),
            stride: 1,
            pad: [1; 4],
            upsample: false,
        };
        check_conv(same([16, 0], 80));
        check_conv(same([32, 5], 36));
        check_conv(same([3, 0], 20));
        check_conv(Conv2d { upsample: true, ..same([16, 0], 20) });
        check_conv(Conv2d { upsample: true, ..same([3, 0], 5) });
        check_conv(Conv2d { stride: 2, pad: [0, 0, 1, 1], ..same([20, 0], 70) });
        check_conv(Conv2d { kernel: (1, 1), pad: [0; 4], ..same([32, 8], 36) });
        if h < 14 {
            // So many channels go in, or out, that they are multiplied in larger strips.
            check_conv(same([256, 16], 100));
            check_conv(same([20, 0], 270));
        }
    }
    check_conv(Conv2d {
        batch: 0,
        c_in: [130, 0],
        h: 8,
        w: 8,
        c_out: 64,
        kernel: (3, 3),
        stride: 1,
        pad: [1; 4],
        upsample: false,
    });
}

#[test]
fn norms() {
    for (channels, pixels, groups) in
        [([8, 0], 49, 2), ([32, 0], 64, 32), ([16, 8], 300, 4), ([6, 0], 1, 2), ([128, 64], 64, 32)]
    {
        let c = channels[0] + channels[1];
        let [gamma, beta] = [numbers(1, c), numbers(2, c)];
        let [x, dy, add] = [3, 4, 5].map(|seed| to_maps(&numbers(seed, BATCH * c * pixels), channels, pixels));
        let scale_shift = numbers(6, BATCH * 2 * c);
        check(&format!("norm of {channels:?} channels, {pixels} pixels"), |first, batch| {
            let shape = Norm { batch, channels, pixels, groups, eps: 1e-5, activation: Activation::Silu };
            let part = |t| images(t, first, batch);
            let maps = [part(&x[0]), part(&x[1])];
            let scale_shift = Some(part(&scale_shift));
            let (mut statistics, mut coefficients) = (unset(shape.statistics_len()), unset(shape.coefficients_len()));
            norm::statistics(&shape, maps, &mut statistics);
            norm::coefficients(&shape, &statistics, [&gamma, &beta], scale_shift, &mut coefficients);
            let mut y = maps.map(|m| unset(m.len()));
            let [y0, y1] = &mut y;
            norm::forward(&shape, maps, &coefficients, [y0, y1]);
            let mut d = [part(&dy[0]).to_vec(), part(&dy[1]).to_vec()];
            let [d0, d1] = &mut d;
            let (mut dgamma, mut dbeta, mut d_scale_shift) = (unset(c), unset(c), unset(batch * 2 * c));
            norm::backward(
                &shape,
                maps,
                [&statistics, &coefficients],
                [&gamma, &beta],
                scale_shift,
                [d0, d1],
                [Some(part(&add[0])), None],
                norm::Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: Some(&mut d_scale_shift) },
            );
            let ([y0, y1], [d0, d1]) = (y, d);
            (vec![statistics, coefficients, y0, y1, d0, d1, d_scale_shift], [dgamma, dbeta].concat())
        });
    }
}

#[test]
fn attentions() {
    for (heads, length, dim) in [(1, 100, 16), (4, 49, 24), (2, 64, 32), (3, 256, 8), (1, 500, 40)] {
        let maps = [1, 2, 3, 4].map(|seed| to_map(&numbers(seed, BATCH * heads * dim * length), heads * dim, length));
        check(&format!("attention of {heads} heads, {length} pixels, {dim} channels"), |first, batch| {
            let shape =
                Attention { batch, heads, queries: length, keys: length, dim, scale: 0.3, layout: Layout::Maps };
            let [q, k, v, d_o] = maps.each_ref().map(|t| images(t, first, batch));
            let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| unset(q.len()));
            attention::forward(&shape, [q, k, v], Mask::default(), &mut o);
            attention::backward(&shape, [q, k, v], Mask::default(), d_o, [&mut dq, &mut dk, &mut dv]);
            (vec![o, dq, dk, dv], vec![])
        });
    }
}

#[test]
fn linear_maps() {
    let (c_in, c_out) = (50, 70);
    let [weight, bias] = [numbers(1, c_out * c_in), numbers(2, c_out)];
    for tokens in [1, 5, 64] {
        let [x, dy] = [numbers(3, BATCH * tokens * c_in), numbers(4, BATCH * tokens * c_out)];
        check(&format!("linear map of {tokens} tokens"), |first, batch| {
            let shape = Linear { rows: batch * tokens, c_in, c_out };
            let [x, dy] = [images(&x, first, batch), images(&dy, first, batch)];
            let (mut y, mut dx, mut dw, mut db) = (unset(dy.len()), unset(x.len()), unset(weight.len()), unset(c_out));
            let input = Input { x, activation: Activation::GeluTanh };
            linear::forward(&shape, input, &weight, Some(&bias), &mut y);
            linear::backward_data(&shape, input, dy, &weight, &mut dx);
            linear::backward_weight(&shape, tokens, input, dy, &mut dw, Some(&mut db));
            (vec![y, dx], [dw, db].concat())
        });
    }
}

#[test]
fn layer_norms_and_gates() {
    let width = 50;
    let [gain, offset] = [numbers(1, width), numbers(2, width)];
    let [scale, shift] = [numbers(3, BATCH * width), numbers(4, BATCH * width)];
    for tokens in [1, 5, 150] {
        let [x, dy] = [numbers(5, BATCH * tokens * width), numbers(6, BATCH * tokens * width)];
        check(&format!("layer norm and gate of {tokens} tokens"), |first, batch| {
            let shape = LayerNorm { batch, tokens, width, eps: 1e-6 };
            let [x, dy] = [images(&x, first, batch), images(&dy, first, batch)];
            let [scale, shift] = [images(&scale, first, batch), images(&shift, first, batch)];
            let line = Line { affine: Some([&gain, &offset]), modulation: Some([scale, shift]) };
            let [mut y, mut dx, mut z, mut dz] = [0; 4].map(|_| unset(x.len()));
            let [mut d_scale, mut d_shift, mut d_gate] = [0; 3].map(|_| unset(scale.len()));
            let [mut d_gain, mut d_offset] = [0; 2].map(|_| unset(width));
            layer_norm::forward(&shape, x, &line, &mut y);
            let affine = Some([&mut d_gain[..], &mut d_offset]);
            let modulation = Some([&mut d_scale[..], &mut d_shift]);
            layer_norm::backward(&shape, x, &line, dy, Gradients { x: &mut dx, affine, modulation });
            let shape = Gate { batch, tokens, width };
            gate::forward(&shape, x, scale, dy, &mut z);
            gate::backward(&shape, scale, x, dy, &mut dz, &mut d_gate);
            (vec![y, dx, z, dz, d_scale, d_shift, d_gate], [d_gain, d_offset].concat())
        });
    }
}

#[test]
fn attentions_of_tokens() {
    for (heads, queries, keys, dim) in
        [(1, 7, 7, 16), (4, 49, 20, 24), (6, 64, 64, 64), (3, 100, 257, 8), (1, 20, 1100, 8)]
    {
        let tensor = |seed, positions| numbers(seed, BATCH * positions * heads * dim);
        let [q, d_o] = [1, 2].map(|seed| tensor(seed, queries));
        let [k, v] = [3, 4].map(|seed| tensor(seed, keys));
        let bias = numbers(5, BATCH * keys);
        check(&format!("attention of {heads} heads, {queries} queries, {keys} keys"), |first, batch| {
            let shape = Attention { batch, heads, queries, keys, dim, scale: 0.3, layout: Layout::Tokens };
            let [q, k, v, d_o] = [&q, &k, &v, &d_o].map(|t| images(t, first, batch));
            let [mut o, mut dq] = [0; 2].map(|_| unset(q.len()));
            let [mut dk, mut dv] = [0; 2].map(|_| unset(k.len()));
            let mask = Mask { causal: queries == keys, bias: Some(images(&bias, first, batch)) };
            attention::forward(&shape, [q, k, v], mask, &mut o);
            attention::backward(&shape, [q, k, v], mask, d_o, [&mut dq, &mut dk, &mut dv]);
            (vec![o, dq, dk, dv], vec![])
        });
    }
}

/// Numbers that are none, in one image, reach neither its neighbours nor, through reused memory, later calls.
#[test]
fn a_bad_image_harms_no_other() {
    let same = |c_in, c_out, size| Conv2d {
        batch: 3,
        c_in,
        h: size,
        w: size,
        c_out,
        kernel: (3, 3),
        stride: 1,
        pad: [1; 4],
        upsample: false,
    };
    let pointwise = Conv2d { kernel: (1, 1), pad: [0; 4], ..same([24, 0], 8, 7) };
    for shape in [
        same([16, 0], 33, 7),
        same([20, 0], 17, 32),
        same([16, 3], 16, 9),
        same([3, 0], 16, 9),
        Conv2d { upsample: true, ..same([16, 0], 16, 5) },
        Conv2d { stride: 2, ..same([20, 0], 12, 9) },
        pointwise,
        Conv2d { h: 8, w: 8, ..pointwise },
    ] {
        let clean = Operands::new(&Case::full(shape));
        let run = |operands: &Operands| {
            let (y, [dx0, dx1], sums, dw) = operands.run_on_maps(&shape);
            [y, dx0, dx1, sums, dw].map(|t| bits(&t))
        };
        let expected = on_threads(1, || run(&clean));
        on_threads(1, || {
            let mut bad = Operands::new(&Case::full(shape));
            for planes in [&mut bad.x, &mut bad.dy] {
                let image = planes.len() / 3;
                planes[image..2 * image].fill(f32::NAN);
            }
            bad.maps = to_maps(&bad.x, shape.c_in, shape.h * shape.w);
            bad.dy_map = to_map(&bad.dy, shape.c_out, shape.out_h() * shape.out_w());
            let got = run(&bad);
            for (got, expected) in got.iter().zip(&expected).take(4) {
                let image = got.len() / 3;
                for n in [0, 2] {
                    let range = n * image..(n + 1) * image;
                    assert!(got[range.clone()] == expected[range], "image {n} of {shape:?}");
                }
            }
            assert!(run(&clean) == expected, "a later call of {shape:?}");
        });
    }
}
