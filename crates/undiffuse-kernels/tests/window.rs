//! Depthwise convolution, pooling and clamped convolution against their formulas in double precision.

mod common;

use common::*;
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::clamp::Clamp;
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};
use undiffuse_kernels::depthwise::{self, Window};
use undiffuse_kernels::pool;

/// Kernel, stride, padding.
type Sizes = ((usize, usize), usize, (usize, usize));

const WINDOWS: [Sizes; 9] = [
    ((3, 3), 1, (1, 1)),
    ((3, 3), 2, (1, 1)),
    ((3, 3), 2, (0, 0)),
    ((5, 5), 1, (2, 2)),
    ((1, 1), 1, (0, 0)),
    ((2, 2), 2, (0, 0)),
    ((1, 7), 1, (0, 3)),
    ((4, 3), 3, (3, 2)),
    ((7, 1), 2, (3, 0)),
];

fn shapes() -> impl Iterator<Item = Window> {
    let sizes = [(1, 1), (7, 7), (5, 33), (14, 9), (23, 23)];
    WINDOWS.into_iter().flat_map(move |(kernel, stride, pad)| {
        sizes.into_iter().zip([1, 5, 16, 33, 48]).filter_map(move |((h, w), channels)| {
            let fits = h + 2 * pad.0 >= kernel.0 && w + 2 * pad.1 >= kernel.1;
            fits.then_some(Window { batch: 3, channels, h, w, kernel, stride, pad })
        })
    })
}

/// Calls `f(output, taps)` for every output, in order, with the place in `x` of every tap, or none outside of the image.
fn windows(s: &Window, mut f: impl FnMut(usize, &[Option<usize>])) {
    for plane in 0..s.batch * s.channels {
        for p in 0..s.out_h() {
            for q in 0..s.out_w() {
                let place = |i: usize, j: usize| {
                    let (row, column) =
                        ((p * s.stride + i).checked_sub(s.pad.0)?, (q * s.stride + j).checked_sub(s.pad.1)?);
                    (row < s.h && column < s.w).then_some((plane * s.h + row) * s.w + column)
                };
                let taps: Vec<_> = (0..s.kernel.0).flat_map(|i| (0..s.kernel.1).map(move |j| place(i, j))).collect();
                f(plane % s.channels, &taps);
            }
        }
    }
}

/// Runs a kernel on planes.
fn run(s: &Window, x: &[f32], kernel: impl Fn(&[f32], &mut [f32])) -> Vec<f32> {
    let pixels = s.out_h() * s.out_w();
    let mut y = unset(undiffuse_kernels::map::len(s.batch, s.channels, pixels));
    kernel(&to_map(x, s.channels, s.h * s.w), &mut y);
    from_map(&y, s.channels, pixels)
}

#[test]
fn depthwise_equals_its_formula() {
    for s in shapes() {
        let taps = s.kernel.0 * s.kernel.1;
        let x = numbers(1, s.batch * s.channels * s.h * s.w);
        let [weight, bias] = [numbers(2, s.channels * taps), numbers(3, s.channels)];
        for (then, bias) in
            [(Clamp::NONE, None), (Clamp::RELU, Some(&bias)), (Clamp { low: -0.2, high: 0.4 }, Some(&bias))]
        {
            let bias = bias.map(|b| &b[..]);
            let mut truth = vec![];
            windows(&s, |c, places| {
                let products = places
                    .iter()
                    .enumerate()
                    .map(|(tap, place)| place.map_or(0.0, |at| f64::from(x[at]) * f64::from(weight[c * taps + tap])));
                let sum = products.sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[c]));
                truth.push(sum.max(f64::from(then.low)).min(f64::from(then.high)));
            });
            let got = run(&s, &x, |x, y| depthwise::forward(&s, x, &weight, bias, then, y));
            assert_within(&got, &truth, 0.5, 2e-6, &format!("{s:?} {then:?}"));
        }
    }
}

#[test]
fn pooling_equals_its_formula() {
    for s in shapes() {
        let x = numbers(4, s.batch * s.channels * s.h * s.w);
        let (mut largest, mut means, mut means_of_all) = (vec![], vec![], vec![]);
        windows(&s, |_, places| {
            let inside: Vec<f64> = places.iter().flatten().map(|&at| f64::from(x[at])).collect();
            let sum: f64 = inside.iter().sum();
            largest.push(inside.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            means.push(sum / inside.len() as f64);
            means_of_all.push(sum / places.len() as f64);
        });
        assert_within(&run(&s, &x, |x, y| pool::max(&s, x, y)), &largest, 0.0, 0.0, &format!("max {s:?}"));
        for (count_padding, truth) in [(false, means), (true, means_of_all)] {
            let got = run(&s, &x, |x, y| pool::average(&s, count_padding, x, y));
            assert_within(&got, &truth, 0.1, 1e-6, &format!("average {s:?}"));
        }
    }
}

#[test]
fn global_average_equals_its_formula() {
    for (batch, channels, pixels) in [(0, 3, 4), (1, 1, 1), (3, 5, 49), (2, 130, 64), (4, 16, 7)] {
        let x = numbers(5, batch * channels * pixels);
        let truth: Vec<f64> =
            x.chunks(pixels).map(|p| p.iter().map(|x| f64::from(*x)).sum::<f64>() / pixels as f64).collect();
        let mut y = unset(batch * channels);
        pool::global_average(&to_map(&x, channels, pixels), channels, pixels, &mut y);
        assert_within(&y, &truth, 0.1, 1e-6, "global average");
    }
}

#[test]
fn a_clamped_convolution_is_the_convolution_clamped() {
    for (c_in, kernel, stride) in [(3, 3, 2), (16, 1, 1), (20, 3, 1), (0, 1, 1)] {
        let shape = Conv2d {
            batch: 2,
            c_in: [c_in, 0],
            h: 9,
            w: 10,
            c_out: 21,
            kernel: (kernel, kernel),
            stride,
            pad: [kernel / 2; 4],
            upsample: false,
        };
        let pixels = shape.out_h() * shape.out_w();
        let x = to_map(&numbers(6, 2 * c_in * 90), c_in, 90);
        let [weight, bias] = [numbers(7, 21 * c_in * kernel * kernel), numbers(8, 21)];
        let residual = to_map(&numbers(9, 2 * 21 * pixels), 21, pixels);
        let input = Input { maps: [&x, &[]], coefficients: None, activation: Activation::Identity };
        for residual in [None, Some(&residual[..])] {
            let add = Add { bias: Some(&bias), residual, ..Add::default() };
            let (mut plain, mut clamped) = (unset(residual_len(pixels)), unset(residual_len(pixels)));
            conv2d::forward(&shape, &input, &weight, &add, &mut plain);
            conv2d::forward_clamped(&shape, &input, &weight, &add, Clamp { low: -0.3, high: 0.2 }, &mut clamped);
            plain.iter_mut().for_each(|y| *y = y.clamp(-0.3, 0.2));
            assert_eq!(bits(&plain), bits(&clamped), "{shape:?}");
        }
    }
}

fn residual_len(pixels: usize) -> usize {
    undiffuse_kernels::map::len(2, 21, pixels)
}

#[test]
fn one_image_alone_and_any_threads_give_the_same_bits() {
    let s = Window { batch: 16, channels: 40, h: 28, w: 28, kernel: (3, 3), stride: 1, pad: (1, 1) };
    let one = Window { batch: 1, ..s };
    let x = to_map(&numbers(1, 16 * 40 * 784), 40, 784);
    let [weight, bias] = [numbers(2, 40 * 9), numbers(3, 40)];
    let all = |s: &Window, x: &[f32]| {
        let [mut d, mut m, mut a] = [0; 3].map(|_| unset(x.len()));
        let mut g = unset(s.batch * 40);
        depthwise::forward(s, x, &weight, Some(&bias), Clamp::RELU6, &mut d);
        pool::max(s, x, &mut m);
        pool::average(s, false, x, &mut a);
        pool::global_average(x, 40, 784, &mut g);
        [d, m, a, g].map(|y| bits(&y))
    };
    let whole = on_threads(1, || all(&s, &x));
    for threads in [2, 3, 7] {
        assert!(on_threads(threads, || all(&s, &x)) == whole, "{threads} threads");
    }
    for i in [0, 5, 15] {
        let part = all(&one, &x[i * x.len() / 16..][..x.len() / 16]);
        for (part, whole) in part.iter().zip(&whole) {
            assert!(*part == whole[i * part.len()..][..part.len()], "image {i} alone");
        }
    }
}

#[test]
#[should_panic(expected = "has no output")]
fn a_window_of_padding_alone_is_refused() {
    Window { batch: 1, channels: 1, h: 4, w: 4, kernel: (2, 2), stride: 1, pad: (2, 2) }.out_h();
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
