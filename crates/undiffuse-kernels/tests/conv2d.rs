//! Convolution against its formula in double precision.

mod common;

use common::conv::{Case, Operands, check};
use common::*;
use proptest::prelude::*;
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};

const SIZES: [usize; 8] = [1, 2, 3, 5, 7, 14, 28, 33];
const CHANNELS: [usize; 6] = [1, 3, 5, 16, 48, 130];
const INPUTS: [[usize; 2]; 11] =
    [[1, 0], [3, 0], [5, 0], [16, 0], [48, 0], [130, 0], [16, 3], [16, 1], [32, 48], [128, 64], [48, 5]];
/// Height, width; stride.
const FILTERS: [((usize, usize), usize); 12] = [
    ((1, 1), 1),
    ((3, 3), 1),
    ((5, 5), 1),
    ((1, 3), 1),
    ((3, 1), 1),
    ((1, 1), 2),
    ((3, 3), 2),
    ((5, 5), 2),
    ((1, 3), 3),
    ((3, 3), 3),
    ((2, 2), 2),
    ((1, 1), 3),
];

/// Largest errors, of the root mean square, beside those of long sums.
const WINOGRAD: f64 = 3e-5;
const DIRECT: f64 = 3e-6;

fn tolerance(shape: &Conv2d) -> f64 {
    if shape.kernel == (3, 3) && shape.stride == 1 { WINOGRAD } else { DIRECT }
}

/// A 3×3 convolution that keeps the size.
fn same(batch: usize, c_in: [usize; 2], c_out: usize, h: usize, w: usize) -> Conv2d {
    Conv2d { batch, c_in, h, w, c_out, kernel: (3, 3), stride: 1, pad: [1; 4], upsample: false }
}

/// Multiply-adds of the largest random cases: the formula needs its time.
const WORK: usize = 12_000_000;

/// Makes an image smaller until the formula can be done soon, and its padding large enough for the filter.
fn feasible(mut shape: Conv2d) -> Conv2d {
    let doubled = usize::from(shape.upsample);
    let products = shape.all_in() * shape.c_out * shape.kernel.0 * shape.kernel.1;
    let work = |s: &Conv2d| s.batch * products * ((s.h * s.w) << (2 * doubled));
    for (h, w) in [(14, 28), (7, 7), (5, 3), (2, 1)] {
        if work(&shape) > WORK {
            (shape.h, shape.w) = (shape.h.min(h), shape.w.min(w));
        }
    }
    let missing = |size: usize, kernel: usize, pad: usize| kernel.saturating_sub((size << doubled) + pad);
    shape.pad[2] += missing(shape.h, shape.kernel.0, shape.pad[0] + shape.pad[2]);
    shape.pad[3] += missing(shape.w, shape.kernel.1, shape.pad[1] + shape.pad[3]);
    shape
}

fn shapes() -> impl Strategy<Value = Conv2d> {
    let winograd = Just(((3, 3), 1, [1; 4]));
    let any = (proptest::sample::select(&FILTERS[..]), [0..3usize, 0..3usize, 0..3usize, 0..3usize])
        .prop_map(|((kernel, stride), pad)| (kernel, stride, pad));
    let filters = prop_oneof![winograd, any];
    let size = || proptest::sample::select(&SIZES[..]);
    let batches = proptest::sample::select(&[1usize, 3, 3, 0][..]);
    let channels = (proptest::sample::select(&INPUTS[..]), proptest::sample::select(&CHANNELS[..]));
    (batches, channels, size(), size(), filters, proptest::bool::weighted(0.3)).prop_map(
        |(batch, (c_in, c_out), h, w, (kernel, stride, pad), upsample)| {
            feasible(Conv2d { batch, c_in, h, w, c_out, kernel, stride, pad, upsample })
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let activation = proptest::option::weighted(0.7, proptest::sample::select(&ACTIVATIONS[..]));
    (shapes(), activation, any::<[bool; 3]>(), 0..1000u64).prop_map(
        |(shape, activation, [bias, shift, residual], seed)| Case { shape, activation, bias, shift, residual, seed },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_its_formula(case in cases()) {
        check(&case, tolerance(&case.shape));
    }
}

#[test]
fn every_size() {
    for size in SIZES {
        for upsample in [false, true] {
            let across = Conv2d { upsample, ..same(2, [16, 0], 16, size, size) };
            check(&Case::full(across), WINOGRAD);
            check(&Case::full(Conv2d { c_in: [3, 0], c_out: 5, w: size + 2, ..across }), DIRECT);
            check(&Case::plain(Conv2d { kernel: (1, 1), pad: [0; 4], h: size + 1, ..across }), DIRECT);
            check(&Case::full(Conv2d { stride: 2, c_out: 20, ..across }), DIRECT);
        }
    }
}

/// Channels of larger strips, of one of which, and of more.
#[test]
fn many_channels() {
    for (c_in, c_out, h, w) in [([256, 16], 70, 9, 13), ([40, 0], 300, 9, 13), ([256, 0], 70, 40, 33)] {
        check(&Case::full(same(1, c_in, c_out, h, w)), WINOGRAD);
    }
    check(&Case::full(same(5, [256, 0], 70, 16, 16)), WINOGRAD);
}

#[test]
fn all_channel_counts() {
    for c_in in INPUTS {
        for c_out in CHANNELS {
            check(&Case::full(same(1, c_in, c_out, 6, 5)), WINOGRAD);
            check(&Case::full(Conv2d { stride: 2, pad: [0, 0, 1, 1], ..same(1, c_in, c_out, 6, 5) }), DIRECT);
        }
    }
}

#[test]
fn all_filters_strides_and_paddings() {
    for (kernel, stride) in FILTERS {
        for pad in [[0; 4], [1; 4], [0, 0, 1, 1], [2, 1, 0, 3], [4, 0, 0, 5]] {
            for (h, w, c_in, c_out) in [(7, 7, [3, 0], 5), (8, 12, [5, 0], 3), (14, 5, [16, 4], 18)] {
                if h + pad[0] + pad[2] >= kernel.0 && w + pad[1] + pad[3] >= kernel.1 {
                    let shape = Conv2d { batch: 2, c_in, h, w, c_out, kernel, stride, pad, upsample: false };
                    check(&Case::full(shape), DIRECT.max(tolerance(&shape)));
                }
            }
        }
    }
}

#[test]
fn all_activations() {
    for activation in ACTIVATIONS {
        for shape in [same(2, [16, 5], 7, 9, 9), Conv2d { stride: 2, ..same(2, [5, 0], 7, 9, 9) }] {
            check(&Case { activation: Some(activation), ..Case::full(shape) }, tolerance(&shape));
        }
    }
}

#[test]
fn many_images() {
    for (batch, size) in [(37, 4), (70, 2), (9, 16), (3, 32)] {
        check(&Case::full(same(batch, [16, 0], 20, size, size)), WINOGRAD);
        check(&Case::full(same(batch, [3, 0], 4, size, size)), DIRECT);
    }
}

/// An activation without coefficients is not applied.
#[test]
fn without_coefficients_inputs_are_read_as_they_are() {
    for shape in [same(1, [16, 0], 4, 4, 4), Conv2d { stride: 2, ..same(1, [16, 0], 4, 4, 4) }] {
        let operands = Operands::new(&Case::plain(shape));
        let (mut plain, mut activated) = (unset(operands.dy_map.len()), unset(operands.dy_map.len()));
        conv2d::forward(&shape, &operands.input(), &operands.weight, &operands.add(), &mut plain);
        let input = Input { activation: Activation::Relu, ..operands.input() };
        conv2d::forward(&shape, &input, &operands.weight, &operands.add(), &mut activated);
        assert_eq!(plain, activated);
    }
}

#[test]
fn without_inputs_there_is_what_is_added() {
    let shape = Conv2d { kernel: (1, 1), pad: [0; 4], ..same(2, [0, 0], 2, 2, 1) };
    let mut y = unset(2 * 2 * 16);
    let input = Input { maps: [&[], &[]], coefficients: None, activation: Activation::Identity };
    let add = Add { bias: Some(&[1.0, 2.0]), shift: Some(&[0.0, 10.0, 20.0, 30.0]), residual: None };
    conv2d::forward(&shape, &input, &[], &add, &mut y);
    assert_eq!(from_map(&y, 2, 2), [1.0, 1.0, 12.0, 12.0, 21.0, 21.0, 32.0, 32.0]);
}

#[test]
fn without_images_gradients_of_weights_are_zero() {
    for shape in [same(0, [16, 0], 16, 4, 4), Conv2d { stride: 2, ..same(0, [3, 0], 5, 4, 4) }] {
        let operands = Operands::new(&Case::plain(shape));
        let results = operands.run(&shape);
        assert!(results.y.is_empty() && results.dx.is_empty() && results.sums.is_empty());
        assert!(results.dw.iter().all(|d| *d == 0.0), "{shape:?}");
    }
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
