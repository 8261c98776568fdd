//! The normal numbers of `torch.manual_seed(seed)` on a CPU, so that published sums of stochastic loops can be
//! reproduced.

use std::f64::consts::TAU;

const N: usize = 624;
const M: usize = 397;

/// The Mersenne Twister MT19937 [Matsumoto98, Table 2].
pub struct Torch {
    state: [u32; N],
    next: usize,
}

impl Torch {
    pub fn seeded(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let before = state[i - 1];
            state[i] = (before ^ before >> 30).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = self.state[i] & 0x8000_0000 | self.state[(i + 1) % N] & 0x7fff_ffff;
                let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[i] = self.state[(i + M) % N] ^ y >> 1 ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// `torch.randn(count)` for a multiple of 16: uniforms of 24 bits, then Box and Muller's method within each 16,
    /// radii from the first eight and angles from the others.
    pub fn randn(&mut self, count: usize) -> Vec<f64> {
        assert_eq!(count % 16, 0);
        let mut x: Vec<f64> = (0..count).map(|_| f64::from(self.word() & 0xff_ffff) / f64::from(1 << 24)).collect();
        for block in x.chunks_mut(16) {
            let (first, second) = block.split_at_mut(8);
            for (u, v) in first.iter_mut().zip(second) {
                let (radius, angle) = ((-2.0 * (1.0 - *u).ln()).sqrt(), TAU * *v);
                (*u, *v) = (radius * angle.cos(), radius * angle.sin());
            }
        }
        x
    }
}
