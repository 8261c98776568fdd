//! Convolution against six nested loops in f64.

mod common;
use common::*;
use undiffuse_kernels::conv2d::{self, Conv2d};

/// Visits every product `y[at] += weight[tap] · x[from]`.
fn products(shape: &Conv2d, mut visit: impl FnMut(usize, usize, usize)) {
    let Conv2d { batch, c_in, h, w, c_out, kernel: (kh, kw), stride, pad } = *shape;
    let (oh, ow) = (shape.out_h(), shape.out_w());
    for (n, o, c) in (0..batch).flat_map(|n| (0..c_out).flat_map(move |o| (0..c_in).map(move |c| (n, o, c)))) {
        for (p, q) in (0..oh).flat_map(|p| (0..ow).map(move |q| (p, q))) {
            for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                let (Some(y), Some(x)) = ((p * stride + i).checked_sub(pad[0]), (q * stride + j).checked_sub(pad[1]))
                else {
                    continue;
                };
                if y < h && x < w {
                    let at = ((n * c_out + o) * oh + p) * ow + q;
                    visit(at, ((o * c_in + c) * kh + i) * kw + j, ((n * c_in + c) * h + y) * w + x);
                }
            }
        }
    }
}

/// Compares all three passes; returns nothing, fails loudly.
fn check(shape: &Conv2d, tolerance: f64) {
    let Conv2d { batch, c_in, h, w, c_out, kernel: (kh, kw), .. } = *shape;
    let pixels = shape.out_h() * shape.out_w();
    let x = numbers(1, batch * c_in * h * w);
    let weight = numbers(2, c_out * c_in * kh * kw);
    let bias = numbers(3, c_out);
    let dy = numbers(4, batch * c_out * pixels);
    let (x64, w64, dy64) = (wide(&x), wide(&weight), wide(&dy));

    let mut y64: Vec<f64> = (0..dy.len()).map(|i| f64::from(bias[i / pixels % c_out])).collect();
    let (mut dx64, mut dw64, mut db64) = (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; c_out]);
    products(shape, |at, tap, from| {
        y64[at] += w64[tap] * x64[from];
        dx64[from] += w64[tap] * dy64[at];
        dw64[tap] += x64[from] * dy64[at];
    });
    dy64.iter().enumerate().for_each(|(i, dy)| db64[i / pixels % c_out] += dy);

    let (mut y, mut dx) = (unset(dy.len()), unset(x.len()));
    let (mut dw, mut db) = (unset(weight.len()), unset(c_out));
    conv2d::forward(shape, &x, &weight, Some(&bias), &mut y);
    conv2d::backward_data(shape, &dy, &weight, &mut dx);
    conv2d::backward_weight(shape, &x, &dy, &mut dw, Some(&mut db));
    assert_close(&y, &y64, tolerance, &format!("y of {shape:?}"));
    assert_close(&dx, &dx64, tolerance, &format!("dx of {shape:?}"));
    assert_close(&dw, &dw64, tolerance, &format!("dw of {shape:?}"));
    assert_close(&db, &db64, 1e-6, &format!("db of {shape:?}"));

    let mut without = unset(dy.len());
    conv2d::forward(shape, &x, &weight, None, &mut without);
    y64.iter_mut().enumerate().for_each(|(i, y)| *y -= f64::from(bias[i / pixels % c_out]));
    assert_close(&without, &y64, tolerance, &format!("y without bias of {shape:?}"));
}

fn same(batch: usize, c_in: usize, c_out: usize, h: usize, w: usize) -> Conv2d {
    Conv2d { batch, c_in, h, w, c_out, kernel: (3, 3), stride: 1, pad: [1; 4] }
}

#[test]
fn sizes_of_three_by_three() {
    for size in [1, 2, 3, 4, 5, 7, 8, 14, 28, 33] {
        check(&same(2, 16, 16, size, size), 2e-5);
        check(&same(1, 5, 3, size, size + 2), 5e-6);
    }
    check(&same(3, 48, 33, 9, 14), 2e-5);
    check(&same(1, 17, 64, 64, 3), 2e-5);
}

#[test]
fn channels_of_three_by_three() {
    for c_in in [1, 3, 5, 8, 16, 48, 130] {
        for c_out in [1, 3, 5, 8, 16, 48, 130] {
            check(&same(1, c_in, c_out, 6, 5), 2e-5);
        }
    }
}

#[test]
fn many_images() {
    for (batch, size) in [(37, 4), (70, 2), (9, 16), (3, 32)] {
        check(&same(batch, 16, 20, size, size), 2e-5);
        check(&same(batch, 3, 4, size, size), 5e-6);
    }
}

#[test]
fn every_kernel_stride_and_padding() {
    for kernel in [(1, 1), (1, 3), (3, 2), (3, 3), (4, 4), (5, 5), (7, 1)] {
        for stride in [1, 2, 3] {
            for pad in [[0; 4], [1; 4], [0, 0, 1, 1], [2, 1, 0, 3]] {
                for (h, w) in [(7, 7), (8, 12), (14, 5)] {
                    if h + pad[0] + pad[2] >= kernel.0 && w + pad[1] + pad[3] >= kernel.1 {
                        check(&Conv2d { batch: 2, c_in: 3, h, w, c_out: 5, kernel, stride, pad }, 2e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn shapes_of_networks() {
    let conv = |batch, c_in, c_out, size, kernel, stride, pad| Conv2d {
        batch,
        c_in,
        h: size,
        w: size,
        c_out,
        kernel: (kernel, kernel),
        stride,
        pad: [pad; 4],
    };
    check(&conv(2, 3, 64, 32, 3, 1, 1), 1e-5);
    check(&conv(2, 64, 3, 32, 3, 1, 1), 1e-5);
    check(&conv(2, 64, 64, 32, 3, 2, 1), 1e-5);
    check(&conv(2, 192, 64, 16, 1, 1, 0), 5e-6);
    check(&conv(1, 130, 130, 7, 3, 1, 1), 3e-5);
    check(&conv(1, 128, 128, 8, 3, 2, 0), 5e-6);
}

#[test]
fn images_that_take_several_strips() {
    let conv = |c_in, c_out, h, w, kernel, stride| Conv2d {
        batch: 2,
        c_in,
        h,
        w,
        c_out,
        kernel: (kernel, kernel),
        stride,
        pad: [kernel / 2; 4],
    };
    check(&conv(17, 13, 130, 70, 3, 1), 3e-5);
    check(&conv(40, 5, 66, 45, 3, 2), 1e-5);
    check(&conv(5, 6, 101, 150, 5, 1), 2e-5);
    check(&conv(70, 6, 40, 36, 1, 1), 1e-5);
    check(&conv(70, 6, 64, 32, 1, 1), 1e-5);
}

#[test]
fn a_padding_larger_than_the_filter_reads_only_zeros() {
    check(&Conv2d { batch: 1, c_in: 2, h: 2, w: 2, c_out: 3, kernel: (2, 2), stride: 2, pad: [5, 4, 3, 6] }, 2e-6);
}

#[test]
fn nothing_in_nothing_out() {
    for shape in [same(0, 3, 4, 5, 5), same(2, 0, 4, 5, 5), same(2, 3, 0, 5, 5)] {
        let len = |c| vec![0.5; shape.batch * c * 25];
        let (x, dy) = (len(shape.c_in), len(shape.c_out));
        let weight = vec![0.5; shape.c_out * shape.c_in * 9];
        let bias: Vec<f32> = (0..shape.c_out).map(|o| o as f32).collect();
        let (mut y, mut dx, mut dw, mut db) =
            (unset(dy.len()), unset(x.len()), unset(weight.len()), unset(shape.c_out));
        conv2d::forward(&shape, &x, &weight, Some(&bias), &mut y);
        conv2d::backward_data(&shape, &dy, &weight, &mut dx);
        conv2d::backward_weight(&shape, &x, &dy, &mut dw, Some(&mut db));
        assert!(y.iter().enumerate().all(|(i, y)| *y == bias[i / 25 % shape.c_out]));
        assert!(dx.iter().chain(&dw).all(|x| *x == 0.0) && db.iter().all(|x| x.is_finite()));
    }
}

#[test]
#[should_panic(expected = "length of weight")]
fn a_wrong_length_is_named() {
    conv2d::forward(&same(1, 2, 2, 4, 4), &[0.0; 32], &[0.0; 35], None, &mut [0.0; 32]);
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
