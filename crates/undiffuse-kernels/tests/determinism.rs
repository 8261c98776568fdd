//! The promise: what belongs to one image has the same bits for any batch, any position in it and any number of
//! threads, and sums over the batch have the same bits for any number of threads.

mod common;
use common::*;
use undiffuse_kernels::attention::{self, Attention};
use undiffuse_kernels::conv2d::{self, Conv2d};
use undiffuse_kernels::group_norm::{self, GroupNorm};
use undiffuse_kernels::linear::{self, Linear};

/// Checks `run(batch, input)`, which returns outputs of images and sums over the batch, on images of `len` numbers.
fn check(what: &str, len: usize, run: impl Fn(usize, &[f32]) -> (Vec<f32>, Vec<f32>) + Sync) {
    const BATCH: usize = 32;
    let input = numbers(7, BATCH * len);
    let (whole, sums) = on_threads(1, || run(BATCH, &input));
    let out = whole.len() / BATCH;
    for threads in [2, 3, 7] {
        let (again, sums_again) = on_threads(threads, || run(BATCH, &input));
        assert!(bits(&again) == bits(&whole), "{what}: images differ on {threads} threads");
        assert!(bits(&sums_again) == bits(&sums), "{what}: sums differ on {threads} threads");
    }
    for (first, batch) in [(0, 1), (5, 1), (31, 1), (0, 7), (11, 7), (30, 2)] {
        for threads in [1, 2] {
            let (part, _) = on_threads(threads, || run(batch, &input[first * len..][..batch * len]));
            let expected = bits(&whole[first * out..][..batch * out]);
            assert!(bits(&part) == expected, "{what}: images {first}.. of a batch of {batch} on {threads} threads");
        }
    }
}

fn check_conv(c_in: usize, c_out: usize, size: (usize, usize), kernel: usize, stride: usize, pad: [usize; 4]) {
    let (h, w) = size;
    let shape = |batch| Conv2d { batch, c_in, h, w, c_out, kernel: (kernel, kernel), stride, pad };
    let weight = numbers(1, c_out * c_in * kernel * kernel);
    let bias = numbers(2, c_out);
    let pixels = shape(1).out_h() * shape(1).out_w();
    check(&format!("forward of {:?}", shape(1)), c_in * h * w, |batch, x| {
        let mut y = unset(batch * c_out * pixels);
        conv2d::forward(&shape(batch), x, &weight, Some(&bias), &mut y);
        (y, vec![])
    });
    check(&format!("backward of {:?}", shape(1)), c_out * pixels, |batch, dy| {
        let x = numbers(3, batch * c_in * h * w);
        let (mut dx, mut dw, mut db) = (unset(x.len()), unset(weight.len()), unset(c_out));
        conv2d::backward_data(&shape(batch), dy, &weight, &mut dx);
        conv2d::backward_weight(&shape(batch), &x, dy, &mut dw, Some(&mut db));
        (dx, [dw, db].concat())
    });
}

#[test]
fn convolutions() {
    for size in [(4, 4), (7, 7), (14, 14), (32, 32), (5, 41)] {
        check_conv(16, 80, size, 3, 1, [1; 4]);
        check_conv(3, 20, size, 3, 1, [1; 4]);
        check_conv(20, 70, size, 3, 2, [0, 0, 1, 1]);
        check_conv(40, 36, size, 1, 1, [0; 4]);
    }
    check_conv(130, 64, (8, 8), 3, 1, [1; 4]);
}

#[test]
fn linear_maps() {
    let (c_in, c_out) = (50, 70);
    let weight = numbers(1, c_out * c_in);
    let bias = numbers(2, c_out);
    for tokens in [1, 5, 64] {
        let shape = |batch| Linear { rows: batch * tokens, c_in, c_out };
        check("linear forward", tokens * c_in, |batch, x| {
            let mut y = unset(batch * tokens * c_out);
            linear::forward(&shape(batch), x, &weight, Some(&bias), &mut y);
            (y, vec![])
        });
        check("linear backward", tokens * c_out, |batch, dy| {
            let x = numbers(3, batch * tokens * c_in);
            let (mut dx, mut dw, mut db) = (unset(x.len()), unset(weight.len()), unset(c_out));
            linear::backward_data(&shape(batch), dy, &weight, &mut dx);
            linear::backward_weight(&shape(batch), &x, dy, &mut dw, Some(&mut db));
            (dx, [dw, db].concat())
        });
    }
}

#[test]
fn group_norms() {
    for (channels, pixels, groups) in [(8, 49, 2), (32, 64, 32), (16, 300, 4), (6, 1, 2)] {
        let [gamma, beta] = [numbers(1, channels), numbers(2, channels)];
        let shape = |batch| GroupNorm { batch, channels, pixels, groups, eps: 1e-5, silu: true };
        check("group_norm", channels * pixels, |batch, x| {
            let (mut y, mut dx) = (unset(x.len()), unset(x.len()));
            let (mut dgamma, mut dbeta) = (unset(channels), unset(channels));
            group_norm::forward(&shape(batch), x, [&gamma, &beta], &mut y);
            group_norm::backward(&shape(batch), x, [&gamma, &beta], x, &mut dx, [&mut dgamma, &mut dbeta]);
            let images = y.chunks(channels * pixels).zip(dx.chunks(channels * pixels));
            (images.flat_map(|(y, dx)| [y, dx].concat()).collect(), [dgamma, dbeta].concat())
        });
    }
}

#[test]
fn attentions() {
    for (heads, length, dim) in [(1, 100, 16), (4, 49, 24), (2, 64, 32)] {
        let len = heads * length * dim;
        let shape = |batch| Attention { heads: batch * heads, length, dim, scale: 0.3 };
        check("attention", 3 * len, |batch, qkv| {
            let part = |i| qkv.chunks(len).skip(i).step_by(3).collect::<Vec<_>>().concat();
            let [q, k, v] = [part(0), part(1), part(2)];
            let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| unset(q.len()));
            attention::forward(&shape(batch), [&q, &k, &v], &mut o);
            attention::backward(&shape(batch), [&q, &k, &v], &o, [&mut dq, &mut dk, &mut dv]);
            let images = (0..batch).flat_map(|i| [&o, &dq, &dk, &dv].map(|t| &t[i * len..(i + 1) * len]).concat());
            (images.collect(), vec![])
        });
    }
}

/// Numbers that are none, in one image, reach neither its neighbours nor, through reused memory, later calls.
#[test]
fn a_bad_image_harms_no_other() {
    for (c_in, c_out, size, kernel, stride) in
        [(16, 33, 7, 3, 1), (20, 17, 32, 3, 1), (3, 16, 9, 3, 1), (20, 12, 9, 3, 2), (24, 8, 7, 1, 1), (24, 8, 8, 1, 1)]
    {
        let pad = [kernel / 2; 4];
        let shape = Conv2d { batch: 3, c_in, h: size, w: size, c_out, kernel: (kernel, kernel), stride, pad };
        let weight = numbers(1, c_out * c_in * kernel * kernel);
        let (image, out_image) = (c_in * size * size, c_out * shape.out_h() * shape.out_w());
        let run = |x: &[f32], dy: &[f32]| {
            let (mut y, mut dx, mut dw) = (unset(dy.len()), unset(x.len()), unset(weight.len()));
            conv2d::forward(&shape, x, &weight, None, &mut y);
            conv2d::backward_data(&shape, dy, &weight, &mut dx);
            conv2d::backward_weight(&shape, x, dy, &mut dw, None);
            [y, dx, dw].map(|t| bits(&t))
        };
        let (mut x, mut dy) = (numbers(2, 3 * image), numbers(3, 3 * out_image));
        let clean = on_threads(1, || run(&x, &dy));
        on_threads(1, || {
            let (good_x, good_dy) = (x.clone(), dy.clone());
            x[image..2 * image].fill(f32::NAN);
            dy[out_image..2 * out_image].fill(f32::NAN);
            let bad = run(&x, &dy);
            for (i, len) in [(0, out_image), (1, image)] {
                for n in [0, 2] {
                    let range = n * len..(n + 1) * len;
                    assert!(bad[i][range.clone()] == clean[i][range], "image {n} of {shape:?}");
                }
            }
            assert!(run(&good_x, &good_dy) == clean, "a later call of {shape:?}");
        });
    }
}
