//! A gate on a residual branch \[Peebles22, adaLN-Zero\], `z = x + gate · y` with a gate for every channel of every
//! picture, forward and backward.

use crate::blocks::{ELEMENTWISE, for_each};
use crate::panel::{load, store};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::tree;

/// Tokens whose sums are one chain.
const TOKENS: usize = 64;

/// The size of a gate. `x`, `y` and `z` are `[batch, tokens, width]`, the gate is `[batch, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Pictures.
    pub batch: usize,
    /// Tokens of a picture.
    pub tokens: usize,
    /// Numbers of a token.
    pub width: usize,
}

impl Gate {
    fn check(&self, lengths: &[usize], gate: usize) {
        let len = self.batch * self.tokens * self.width;
        assert!(lengths.iter().all(|n| *n == len), "gate: lengths {lengths:?} for {self:?}");
        assert_eq!(gate, self.batch * self.width, "gate: length of the gate or its gradient for {self:?}");
    }

    fn of_picture(&self) -> usize {
        self.tokens * self.width
    }
}

/// Writes `z = x + gate · y`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(shape: &Gate, x: &[f32], gate: &[f32], y: &[f32], z: &mut [f32]) {
    shape.check(&[x.len(), y.len(), z.len()], gate.len());
    if z.is_empty() {
        return;
    }
    let of = shape.of_picture();
    let tasks = z.chunks_mut(of).zip(x.chunks(of).zip(y.chunks(of))).zip(gate.chunks(shape.width));
    for_each(tasks, x.len() * ELEMENTWISE, |((z, (x, y)), gate)| dispatch(Forward { x, gate, y, z }));
}

/// Writes `dy = gate · dz` and `dgate = Σ dz · y`, the sum over the tokens of a picture. The gradient of `x` is `dz`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn backward(shape: &Gate, gate: &[f32], y: &[f32], dz: &[f32], dy: &mut [f32], dgate: &mut [f32]) {
    shape.check(&[y.len(), dz.len(), dy.len()], gate.len());
    shape.check(&[], dgate.len());
    dgate.fill(0.0);
    if dy.is_empty() {
        return;
    }
    let (of, width) = (shape.of_picture(), shape.width);
    let inputs = y.chunks(of).zip(dz.chunks(of)).zip(gate.chunks(width));
    let tasks = dy.chunks_mut(of).zip(inputs).zip(dgate.chunks_mut(width));
    for_each(tasks, y.len() * ELEMENTWISE, |((dy, ((y, dz), gate)), dgate)| {
        let mut chain = Scratch::new(width.div_ceil(LANES));
        let chain = &mut chain.as_flattened_mut()[..width];
        let blocks = y.chunks(TOKENS * width).zip(dz.chunks(TOKENS * width));
        for (dy, (y, dz)) in dy.chunks_mut(TOKENS * width).zip(blocks) {
            chain.fill(0.0);
            dispatch(Backward { gate, y, dz, dy, dgate: chain });
            tree::add(dgate, chain);
        }
    });
}

/// One picture.
struct Forward<'a> {
    x: &'a [f32],
    gate: &'a [f32],
    y: &'a [f32],
    z: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.gate.len();
        let tokens = self.x.chunks(width).zip(self.y.chunks(width));
        for (z, (x, y)) in self.z.chunks_mut(width).zip(tokens) {
            let inputs = x.chunks(LANES).zip(y.chunks(LANES)).zip(self.gate.chunks(LANES));
            for (z, ((x, y), gate)) in z.chunks_mut(LANES).zip(inputs) {
                store(s, s.mul_add(load(s, gate), load(s, y), load(s, x)), z);
            }
        }
    }
}

/// Tokens of one picture; adds to `dgate`.
struct Backward<'a> {
    gate: &'a [f32],
    y: &'a [f32],
    dz: &'a [f32],
    dy: &'a mut [f32],
    dgate: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.gate.len();
        let tokens = self.y.chunks(width).zip(self.dz.chunks(width));
        for (dy, (y, dz)) in self.dy.chunks_mut(width).zip(tokens) {
            let inputs = y.chunks(LANES).zip(dz.chunks(LANES)).zip(self.gate.chunks(LANES));
            let outputs = dy.chunks_mut(LANES).zip(self.dgate.chunks_mut(LANES));
            for ((dy, dgate), ((y, dz), gate)) in outputs.zip(inputs) {
                let dz = load(s, dz);
                store(s, s.mul(dz, load(s, gate)), dy);
                store(s, s.mul_add(dz, load(s, y), load(s, dgate)), dgate);
            }
        }
    }
}
