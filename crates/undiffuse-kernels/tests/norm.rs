//! Normalisation against its formula in double precision.

mod common;

use common::*;
use proptest::prelude::*;
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::norm::{self, Gradients, Norm};

/// Channels of the two maps, and groups over both: some groups end within a vector, and some span both maps.
const CHANNELS: [([usize; 2], usize); 16] = [
    ([1, 0], 1),
    ([3, 0], 1),
    ([3, 0], 3),
    ([5, 0], 5),
    ([16, 0], 1),
    ([16, 0], 16),
    ([48, 0], 16),
    ([130, 0], 13),
    ([192, 0], 32),
    ([16, 3], 1),
    ([16, 3], 19),
    ([16, 8], 4),
    ([32, 48], 8),
    ([128, 64], 32),
    ([64, 128], 1),
    ([48, 17], 5),
];
const PIXELS: [usize; 9] = [1, 2, 3, 4, 9, 25, 49, 196, 1089];

#[derive(Clone, Debug)]
struct Case {
    shape: Norm,
    scale_shift: bool,
    /// What is added to the gradient of each map.
    add: [bool; 2],
    /// Mean of the inputs, whose deviation is 0.6.
    mean: f32,
    seed: u64,
}

/// Planes and parameters of a case.
struct Operands {
    x: Vec<f32>,
    affine: [Vec<f32>; 2],
    /// `[image][scale, shift][channel]`.
    scale_shift: Option<Vec<f32>>,
    dy: Vec<f32>,
    add: Vec<f32>,
}

/// What the kernels write, or the formula gives; maps as planes.
struct Results<T> {
    /// `[image][group][mean, 1 / deviation]`.
    statistics: Vec<T>,
    /// `[image][a, b][channel]`.
    coefficients: Vec<T>,
    /// Before the activation; of the formula only.
    z: Vec<T>,
    y: Vec<T>,
    dx: Vec<T>,
    affine: [Vec<T>; 2],
    scale_shift: Vec<T>,
}

impl Operands {
    fn new(case: &Case) -> Self {
        let Norm { batch, channels, pixels, .. } = case.shape;
        let c = channels[0] + channels[1];
        let some = |stream: u64, n: usize| numbers(8 * case.seed + stream, n);
        let mut new = Self {
            x: some(1, batch * c * pixels).iter().map(|x| x + case.mean).collect(),
            affine: [some(2, c), some(3, c)],
            scale_shift: case.scale_shift.then(|| some(4, 2 * batch * c)),
            dy: some(5, batch * c * pixels),
            add: some(6, batch * c * pixels),
        };
        if case.shape.activation == Activation::Relu {
            // Where rounding decides the slope, no gradient arrives.
            let z = new.truth(case).z;
            let near = 1e-4 * f64::from(1.0 + case.mean.abs());
            new.dy.iter_mut().zip(z).filter(|(_, z)| z.abs() < near).for_each(|(dy, _)| *dy = 0.0);
        }
        new
    }

    fn run(&self, case: &Case) -> Results<f32> {
        let shape = &case.shape;
        let Norm { batch, channels, pixels, .. } = *shape;
        let all = shape.all_channels();
        let [maps, mut d, add] = [&self.x, &self.dy, &self.add].map(|planes| to_maps(planes, channels, pixels));
        let maps = [&maps[0][..], &maps[1]];
        let affine = [&self.affine[0][..], &self.affine[1]];
        let scale_shift = self.scale_shift.as_deref();
        let mut statistics = unset(shape.statistics_len());
        norm::statistics(shape, maps, &mut statistics);
        let mut coefficients = unset(shape.coefficients_len());
        norm::coefficients(shape, &statistics, affine, scale_shift, &mut coefficients);
        let mut y = maps.map(|m| unset(m.len()));
        let [first, second] = &mut y;
        norm::forward(shape, maps, &coefficients, [first, second]);
        let (mut dgamma, mut dbeta) = (unset(all), unset(all));
        let mut d_scale_shift = unset(2 * batch * all);
        let [first, second] = &mut d;
        norm::backward(
            shape,
            maps,
            [&statistics, &coefficients],
            affine,
            scale_shift,
            [first, second],
            [0, 1].map(|i| case.add[i].then_some(&add[i][..])),
            Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: Some(&mut d_scale_shift) },
        );
        let coefficients = coefficients.chunks(all.next_multiple_of(16).max(1)).flat_map(|row| {
            assert!(row[all..].iter().all(|x| *x == 0.0), "padding of coefficients of {case:?}");
            &row[..all]
        });
        Results {
            coefficients: coefficients.copied().collect(),
            statistics,
            z: vec![],
            y: from_maps(&y, channels, pixels),
            dx: from_maps(&d, channels, pixels),
            affine: [dgamma, dbeta],
            scale_shift: d_scale_shift,
        }
    }

    fn truth(&self, case: &Case) -> Results<f64> {
        let Norm { batch, pixels, groups, eps, activation, .. } = case.shape;
        let all = case.shape.all_channels();
        let of_group = all / groups;
        let [x, dy, gamma, beta] = [&self.x, &self.dy, &self.affine[0], &self.affine[1]].map(|t| wide(t));
        let modulation = |image: usize, kind: usize, c: usize| {
            self.scale_shift.as_ref().map_or(0.0, |s| f64::from(s[(2 * image + kind) * all + c]))
        };
        let mut out = Results {
            statistics: vec![],
            coefficients: vec![0.0; 2 * batch * all],
            z: vec![0.0; x.len()],
            y: vec![0.0; x.len()],
            dx: vec![0.0; x.len()],
            affine: [vec![0.0; all], vec![0.0; all]],
            scale_shift: vec![0.0; 2 * batch * all],
        };
        for (image, group) in (0..batch).flat_map(|n| (0..groups).map(move |g| (n, g))) {
            let channels = group * of_group..(group + 1) * of_group;
            let at = (image * all + channels.start) * pixels..(image * all + channels.end) * pixels;
            let m = at.len() as f64;
            let mean = x[at.clone()].iter().sum::<f64>() / m;
            let variance = x[at.clone()].iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / m;
            let inverse = 1.0 / (variance + f64::from(eps)).sqrt();
            out.statistics.extend([mean, inverse]);
            let mut d_normal = vec![0.0; at.len()];
            let normal: Vec<f64> = x[at.clone()].iter().map(|x| (x - mean) * inverse).collect();
            for (i, normal) in normal.iter().enumerate() {
                let c = channels.start + i / pixels;
                let [scale, shift] = [0, 1].map(|kind| modulation(image, kind, c));
                let z = (normal * gamma[c] + beta[c]) * (1.0 + scale) + shift;
                out.z[at.start + i] = z;
                out.y[at.start + i] = activated(activation, z);
                let dz = dy[at.start + i] * slope(activation, z);
                d_normal[i] = dz * gamma[c] * (1.0 + scale);
                out.affine[0][c] += dz * normal * (1.0 + scale);
                out.affine[1][c] += dz * (1.0 + scale);
                out.scale_shift[2 * image * all + c] += dz * (normal * gamma[c] + beta[c]);
                out.scale_shift[(2 * image + 1) * all + c] += dz;
            }
            let mean_d = d_normal.iter().sum::<f64>() / m;
            let mean_dx = dot(&d_normal, &normal) / m;
            for (i, normal) in normal.iter().enumerate() {
                out.dx[at.start + i] = inverse * (d_normal[i] - mean_d - normal * mean_dx);
            }
            for c in channels {
                let [scale, shift] = [0, 1].map(|kind| modulation(image, kind, c));
                let a = gamma[c] * inverse * (1.0 + scale);
                out.coefficients[2 * image * all + c] = a;
                out.coefficients[(2 * image + 1) * all + c] = beta[c] * (1.0 + scale) + shift - mean * a;
            }
        }
        for (i, dx) in out.dx.iter_mut().enumerate() {
            let map = usize::from(i / pixels % all >= case.shape.channels[0]);
            *dx += if case.add[map] { f64::from(self.add[i]) } else { 0.0 };
        }
        out
    }
}

/// Compares everything with the formula.
fn check(case: &Case) {
    let operands = Operands::new(case);
    let (got, truth) = (operands.run(case), operands.truth(case));
    let of = |what: &str| format!("{what} of {case:?}");
    // A number beside the mean it is freed of has lost digits already.
    let lost = 1.0 + f64::from(case.mean).abs();
    let inverse = truth.statistics.iter().skip(1).step_by(2).fold(1.0, |m: f64, x| m.max(*x));
    // Gradients of constant inputs are differences of numbers as large as these.
    let steep = inverse * lost;
    let root = (case.shape.pixels as f64).sqrt();
    for kind in [0, 1] {
        let part = |t: &[f32]| t.iter().skip(kind).step_by(2).copied().collect::<Vec<_>>();
        let truth: Vec<f64> = truth.statistics.iter().skip(kind).step_by(2).copied().collect();
        assert_within(&part(&got.statistics), &truth, [0.6, 0.0][kind], [1e-6, 4e-6][kind] * lost, &of("statistics"));
    }
    assert_within(&got.coefficients, &truth.coefficients, 0.0, 4e-6 * lost, &of("coefficients"));
    assert_within(&got.y, &truth.y, steep, 4e-6, &of("y"));
    assert_within(&got.dx, &truth.dx, steep, 1e-5 * lost, &of("dx"));
    for (got, truth) in got.affine.iter().zip(&truth.affine) {
        assert_within(got, truth, root, 4e-6 * steep, &of("the gradient of gamma or beta"));
    }
    assert_within(&got.scale_shift, &truth.scale_shift, root, 4e-6 * steep, &of("the gradient of scale and shift"));
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = proptest::sample::select(&CHANNELS[..]);
    let pixels = proptest::sample::select(&PIXELS[..]);
    let batches = proptest::sample::select(&[1usize, 3, 3, 0][..]);
    let rest = (
        proptest::sample::select(&ACTIVATIONS[..]),
        proptest::sample::select(&[1e-5f32, 1e-3, 0.1][..]),
        proptest::sample::select(&[0.0f32, 0.0, 3.0, -30.0][..]),
    );
    (channels, pixels, batches, rest, any::<[bool; 3]>(), 0..1000u64).prop_map(
        |((channels, groups), pixels, batch, (activation, eps, mean), [scale_shift, first, second], seed)| {
            let shape = Norm { batch, channels, pixels, groups, eps, activation };
            Case { shape, scale_shift, add: [first, second], mean, seed }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_its_formula(case in cases()) {
        check(&case);
    }
}

fn case(channels: [usize; 2], groups: usize, pixels: usize) -> Case {
    let shape = Norm { batch: 2, channels, pixels, groups, eps: 1e-5, activation: Activation::Silu };
    Case { shape, scale_shift: true, add: [true; 2], mean: 0.5, seed: 1 }
}

#[test]
fn all_channels_and_sizes() {
    for (channels, groups) in CHANNELS {
        for pixels in PIXELS {
            check(&case(channels, groups, pixels));
        }
    }
}

/// The formula for the gradient above, against differences of the formula for the value.
#[test]
fn the_formula_for_the_gradient_is_right() {
    let case = Case { scale_shift: true, add: [false; 2], ..case([16, 4], 4, 3) };
    let operands = Operands::new(&case);
    let dy = wide(&operands.dy);
    let truth = operands.truth(&case);
    let mut numeric = vec![];
    for i in 0..operands.x.len() {
        let at = |x: f32| {
            let mut moved = Operands::new(&case);
            moved.x[i] = x;
            dot(&moved.truth(&case).y, &dy)
        };
        let (down, up) = (operands.x[i] - 1e-3, operands.x[i] + 1e-3);
        numeric.push((at(up) - at(down)) / (f64::from(up) - f64::from(down)));
    }
    let narrow: Vec<f32> = numeric.iter().map(|x| *x as f32).collect();
    assert_within(&narrow, &truth.dx, 0.0, 1e-4, "dx by differences");
}

/// Inputs far from zero keep their deviation: nothing is found as the difference of two large sums.
#[test]
fn a_large_mean_costs_no_digits_but_its_own() {
    for mean in [100.0, -1000.0] {
        let case = Case { mean, ..case([48, 0], 16, 196) };
        let operands = Operands::new(&case);
        let (got, truth) = (operands.run(&case), operands.truth(&case));
        let inverse = |t: &[f64]| t.iter().skip(1).step_by(2).copied().collect::<Vec<_>>();
        let got: Vec<f32> = got.statistics.iter().skip(1).step_by(2).copied().collect();
        assert_within(&got, &inverse(&truth.statistics), 0.0, 1e-5, &format!("deviations around {mean}"));
    }
}

#[test]
fn constant_inputs_become_the_shift() {
    let shape = Norm { batch: 1, channels: [3, 0], pixels: 4, groups: 1, eps: 1e-5, activation: Activation::Identity };
    let x = to_map(&[7.0; 12], 3, 4);
    let (mut statistics, mut coefficients) = (unset(2), unset(32));
    norm::statistics(&shape, [&x, &[]], &mut statistics);
    norm::coefficients(&shape, &statistics, [&[1.0, 2.0, 3.0], &[0.25, 0.5, 0.75]], None, &mut coefficients);
    let mut y = unset(x.len());
    norm::forward(&shape, [&x, &[]], &coefficients, [&mut y, &mut []]);
    for (i, y) in from_map(&y, 3, 4).iter().enumerate() {
        assert!((y - 0.25 * (1 + i / 4) as f32).abs() < 1e-3, "{y}");
    }
}

#[test]
fn without_images_the_gradients_of_parameters_are_zero() {
    let case = Case { shape: Norm { batch: 0, ..case([16, 3], 1, 4).shape }, ..case([16, 3], 1, 4) };
    let got = Operands::new(&case).run(&case);
    assert_eq!(got.affine, [vec![0.0; 19], vec![0.0; 19]]);
}

#[test]
fn at_lower_levels() {
    pass_at_lower_levels();
}
