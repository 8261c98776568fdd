//! Convolution by its formula.

use super::*;
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};

/// What is convolved, with what, and what is added; all in planes.
#[derive(Clone, Debug)]
pub struct Case {
    pub shape: Conv2d,
    /// What is read is normalised with random coefficients, and activated.
    pub activation: Option<Activation>,
    pub bias: bool,
    pub shift: bool,
    pub residual: bool,
    pub seed: u64,
}

impl Case {
    /// Without anything before or after the convolution.
    pub fn plain(shape: Conv2d) -> Self {
        Self { shape, activation: None, bias: false, shift: false, residual: false, seed: 0 }
    }

    /// With all that can be.
    pub fn full(shape: Conv2d) -> Self {
        Self { shape, activation: Some(Activation::Silu), bias: true, shift: true, residual: true, seed: 0 }
    }
}

/// The operands of a case.
pub struct Operands {
    /// Planes of both inputs.
    pub x: Vec<f32>,
    pub maps: [Vec<f32>; 2],
    /// `[image][a, b][channel]`.
    pub coefficients: Option<Vec<f32>>,
    pub padded_coefficients: Option<Vec<f32>>,
    pub weight: Vec<f32>,
    pub bias: Option<Vec<f32>>,
    pub shift: Option<Vec<f32>>,
    pub residual: Option<Vec<f32>>,
    pub residual_map: Option<Vec<f32>>,
    /// Planes.
    pub dy: Vec<f32>,
    pub dy_map: Vec<f32>,
    pub activation: Activation,
}

/// Results of the kernels, or of the formula: planes.
pub struct Results<T> {
    pub y: Vec<T>,
    pub dx: Vec<T>,
    pub dw: Vec<T>,
    pub sums: Vec<T>,
}

impl Operands {
    pub fn new(case: &Case) -> Self {
        let Conv2d { batch, c_in, h, w, c_out, kernel, .. } = case.shape;
        let (channels, pixels, out) = (c_in[0] + c_in[1], h * w, case.shape.out_h() * case.shape.out_w());
        let some = |stream: u64, n: usize| numbers(8 * case.seed + stream, n);
        let x = some(1, batch * channels * pixels);
        let coefficients = case.activation.map(|_| some(2, batch * 2 * channels).iter().map(|x| 2.0 * x).collect());
        let residual = case.residual.then(|| some(3, batch * c_out * out));
        let dy = some(4, batch * c_out * out);
        Self {
            maps: to_maps(&x, c_in, pixels),
            x,
            padded_coefficients: coefficients.as_ref().map(|c: &Vec<f32>| pad_channels(c, channels)),
            coefficients,
            weight: some(5, c_out * channels * kernel.0 * kernel.1),
            bias: case.bias.then(|| some(6, c_out)),
            shift: case.shift.then(|| some(7, batch * c_out)),
            residual_map: residual.as_ref().map(|r| to_map(r, c_out, out)),
            residual,
            dy_map: to_map(&dy, c_out, out),
            dy,
            activation: case.activation.unwrap_or_default(),
        }
    }

    /// What is convolved.
    pub fn input(&self) -> Input<'_> {
        let maps = [&self.maps[0][..], &self.maps[1]];
        Input { maps, coefficients: self.padded_coefficients.as_deref(), activation: self.activation }
    }

    /// What is added.
    pub fn add(&self) -> Add<'_> {
        Add { bias: self.bias.as_deref(), shift: self.shift.as_deref(), residual: self.residual_map.as_deref() }
    }

    /// All passes by the kernels: maps `y` and `dx`, and `sums` and `dw`.
    pub fn run_on_maps(&self, shape: &Conv2d) -> (Vec<f32>, [Vec<f32>; 2], Vec<f32>, Vec<f32>) {
        let mut y = unset(self.dy_map.len());
        conv2d::forward(shape, &self.input(), &self.weight, &self.add(), &mut y);
        let mut dx = [unset(self.maps[0].len()), unset(self.maps[1].len())];
        let [first, second] = &mut dx;
        conv2d::backward_data(shape, &self.dy_map, &self.weight, [first, second]);
        let (mut dw, mut sums) = (unset(self.weight.len()), unset(shape.batch * shape.c_out));
        conv2d::backward_weight(shape, &self.input(), &self.dy_map, &mut dw, Some(&mut sums));
        (y, dx, sums, dw)
    }

    /// All passes by the kernels.
    pub fn run(&self, shape: &Conv2d) -> Results<f32> {
        let (y, dx, sums, dw) = self.run_on_maps(shape);
        let (y, dx) =
            (from_map(&y, shape.c_out, shape.out_h() * shape.out_w()), from_maps(&dx, shape.c_in, shape.h * shape.w));
        Results { y, dx, dw, sums }
    }

    /// What is convolved, in planes of the size of the maps.
    pub fn activated(&self, shape: &Conv2d) -> Vec<f64> {
        let (channels, pixels) = (shape.all_in(), shape.h * shape.w);
        let mut u = wide(&self.x);
        if let Some(coefficients) = &self.coefficients {
            for (i, u) in u.iter_mut().enumerate() {
                let (image, c) = (i / (channels * pixels), i / pixels % channels);
                let [a, b] = [0, 1].map(|k| f64::from(coefficients[(2 * image + k) * channels + c]));
                *u = activated(self.activation, *u * a + b);
            }
        }
        u
    }

    /// All passes by the formula: a sum over taps of whole rows of outputs.
    pub fn truth(&self, shape: &Conv2d) -> Results<f64> {
        let Conv2d { batch, h, w, c_out, kernel: (kh, kw), stride, pad, .. } = *shape;
        let (c_in, oh, ow, doubled) = (shape.all_in(), shape.out_h(), shape.out_w(), usize::from(shape.upsample));
        let (u, dy, weight) = (self.activated(shape), wide(&self.dy), wide(&self.weight));
        let mut out = Results {
            y: self.residual.as_ref().map_or(vec![0.0; dy.len()], |r| wide(r)),
            dx: vec![0.0; u.len()],
            dw: vec![0.0; weight.len()],
            sums: dy.chunks(oh * ow).map(|dy| dy.iter().sum()).collect(),
        };
        for (plane, y) in out.y.chunks_mut(oh * ow).enumerate() {
            let of = |added: &Option<Vec<f32>>, at: usize| added.as_ref().map_or(0.0, |a| f64::from(a[at]));
            let added = of(&self.bias, plane % c_out) + of(&self.shift, plane);
            y.iter_mut().for_each(|y| *y += added);
        }
        let all = |n: usize, m: usize| (0..n).flat_map(move |i| (0..m).map(move |j| (i, j)));
        for (n, o) in all(batch, c_out) {
            for c in 0..c_in {
                for (i, j) in all(kh, kw) {
                    let tap = ((o * c_in + c) * kh + i) * kw + j;
                    for p in 0..oh {
                        let Some(row) = (p * stride + i).checked_sub(pad[0]).filter(|r| *r < h << doubled) else {
                            continue;
                        };
                        let read = &mut out.dx[((n * c_in + c) * h + (row >> doubled)) * w..][..w];
                        let u = &u[((n * c_in + c) * h + (row >> doubled)) * w..][..w];
                        let first = ((n * c_out + o) * oh + p) * ow;
                        for q in 0..ow {
                            if let Some(column) = (q * stride + j).checked_sub(pad[1]).filter(|c| *c < w << doubled) {
                                out.y[first + q] += weight[tap] * u[column >> doubled];
                                read[column >> doubled] += weight[tap] * dy[first + q];
                                out.dw[tap] += dy[first + q] * u[column >> doubled];
                            }
                        }
                    }
                }
            }
        }
        out
    }
}

/// Compares all passes with the formula. Errors may be `tolerance` and what a chain of so many additions rounds away.
pub fn check(case: &Case, tolerance: f64) {
    let shape = &case.shape;
    let operands = Operands::new(case);
    let (got, truth) = (operands.run(shape), operands.truth(shape));
    let (weight, dy) = (rms(&wide(&operands.weight)), rms(&wide(&operands.dy)));
    // An activation errs in proportion to what it is made of, not to what is left of it.
    let input = rms(&operands.activated(shape)).max(if case.activation.is_some() { 0.5 } else { 0.0 });
    let taps = shape.kernel.0 * shape.kernel.1;
    let outputs = shape.batch * shape.out_h() * shape.out_w();
    for (what, got, truth, scale, terms) in [
        ("y", &got.y, &truth.y, weight * input, taps * shape.all_in()),
        ("dx", &got.dx, &truth.dx, weight * dy, taps * shape.c_out),
        ("dw", &got.dw, &truth.dw, input * dy, outputs),
    ] {
        let root = (terms as f64).sqrt();
        assert_within(got, truth, scale * root, tolerance + 3e-7 * root, &format!("{what} of {case:?}"));
    }
    let pixels = (shape.out_h() * shape.out_w()) as f64;
    assert_within(&got.sums, &truth.sums, dy * pixels.sqrt(), 5e-6, &format!("sums of {case:?}"));
}
