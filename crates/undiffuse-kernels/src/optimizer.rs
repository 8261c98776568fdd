//! One step of the optimiser: scaling of the gradient, AdamW and the averages of the weights in one pass over memory.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// The numbers of one AdamW step [Loshchilov19, Algorithm 2].
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Steps done before this one.
    pub step: u64,
    /// Multiplies the gradient first: clipping and accumulation.
    pub gradient_scale: f64,
}

impl AdamW {
    /// `lr / (1 − β₁ᵗ)` and `1 / √(1 − β₂ᵗ)`.
    pub fn corrections(&self) -> (f64, f64) {
        let t = (self.step + 1) as i32;
        (self.lr / (1.0 - self.beta1.powi(t)), 1.0 / (1.0 - self.beta2.powi(t)).sqrt())
    }
}

/// Values that a thread works on at a time; without influence on the result.
const CHUNK: usize = 1 << 13;

/// With `g` the scaled gradient: `m = β₁ m + (1 − β₁) g`, `v = β₂ v + (1 − β₂) g²`,
/// `p = p (1 − lr · decay) − lr m̂ / (√v̂ + eps)`, and every average moves toward `p` by its rate.
///
/// # Panics
/// If the lengths differ.
pub fn step(h: &AdamW, p: &mut [f32], g: &[f32], [m, v]: [&mut [f32]; 2], averages: Vec<(&mut [f32], f64)>) {
    let n = p.len();
    assert!([g.len(), m.len(), v.len()] == [n; 3], "optimizer::step: lengths of gradient and moments");
    let work = n * ELEMENTWISE;
    let mut shares: Vec<Vec<(&mut [f32], f32)>> = (0..n.div_ceil(CHUNK)).map(|_| Vec::new()).collect();
    for (average, rate) in averages {
        assert_eq!(average.len(), n, "optimizer::step: length of an average");
        for (share, chunk) in shares.iter_mut().zip(average.chunks_mut(CHUNK)) {
            share.push((chunk, rate as f32));
        }
    }
    let moments = m.chunks_mut(CHUNK).zip(v.chunks_mut(CHUNK));
    let tasks = p.chunks_mut(CHUNK).zip(g.chunks(CHUNK)).zip(moments).zip(shares);
    for_each(tasks, work, |(((p, g), (m, v)), averages)| dispatch(Step { h, p, g, m, v, averages }));
}

struct Step<'a> {
    h: &'a AdamW,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    averages: Vec<(&'a mut [f32], f32)>,
}

impl Kernel for Step<'_> {
    type Output = ();

    /// Plain loops: nothing here depends on the order of anything, and the compiler turns them into vectors.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { h, p, g, m, v, averages } = self;
        let (lr, root) = h.corrections();
        let [lr, root, beta1, beta2, eps] = [lr, root, h.beta1, h.beta2, h.eps].map(|x| x as f32);
        let (keep, scale) = ((1.0 - h.lr * h.weight_decay) as f32, h.gradient_scale as f32);
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * scale;
            *m = *m * beta1 + g * (1.0 - beta1);
            *v = *v * beta2 + g * g * (1.0 - beta2);
            *p = *p * keep - *m * lr / (v.sqrt() * root + eps);
        }
        for (average, rate) in averages {
            for (average, p) in average.iter_mut().zip(p.iter()) {
                *average += (*p - *average) * rate;
            }
        }
    }
}

/// `Σ x²` in double precision, in an order that the length alone decides.
pub fn square_sum(x: &[f32]) -> f64 {
    let mut shares = vec![0.0; x.len().div_ceil(CHUNK)];
    for_each(shares.iter_mut().zip(x.chunks(CHUNK)), x.len() * ELEMENTWISE, |(share, x)| {
        *share = dispatch(SquareSum(x));
    });
    shares.iter().sum()
}

struct SquareSum<'a>(&'a [f32]);

impl Kernel for SquareSum<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0; LANES];
        for block in self.0.chunks(LANES) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        sums.iter().sum()
    }
}
