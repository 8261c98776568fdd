//! Everything random about one step, as a function of the seed and of how many pictures were seen.
//!
//! Nothing here has a state: picture number `n` of a run always gets the same place in the data,
//! mirror, time, noise and label, so a resumed run draws what an uninterrupted one would have drawn.

use rayon::prelude::*;
use undiffuse_math::{draw::Draw, noise};

use super::noise::NoiseConfig;
use crate::condition::{Ask, Cond, Conditioner};
use crate::examples::Examples;

/// What a random number is for; part of its stream.
#[derive(Clone, Copy)]
enum Use {
    Order = 1,
    Flip = 2,
    Time = 3,
    Noise = 4,
    Label = 5,
    Dropout = 6,
    Asked = 7,
}

impl Use {
    fn stream(self, counter: u64) -> u64 {
        (self as u64) << 56 | counter
    }
}

/// The seed of dropout of picture number `n` of a run; those of the pictures after it count up.
pub fn dropout_seed(seed: u64, n: u64) -> u64 {
    noise::bits(seed, Use::Dropout.stream(0), 0).wrapping_add(n)
}

fn uniform(seed: u64, what: Use, counter: u64) -> f64 {
    noise::uniform(seed, what.stream(counter), 0)
}

/// Whether picture number `n` of a run, which mirrors half of its pictures, is mirrored.
pub fn is_flipped(seed: u64, n: u64) -> bool {
    uniform(seed, Use::Flip, n) < 0.5
}

/// A batch of pictures, and all that is random about it.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    /// `[B, C, H, W]`.
    pub shape: [usize; 4],
    /// The pictures `[B, C, H, W]`, in [-1, 1].
    pub x0: Vec<f32>,
    /// Standard normal noise `[B, C, H, W]`.
    pub eps: Vec<f32>,
    /// Each picture's level, and how the network is asked and read there `[B]`.
    pub each: Vec<Draw>,
    /// What the network is asked for `[B]`.
    pub ask: Cond,
    /// The quantile of each picture's training time `[B]`.
    pub quantiles: Vec<f64>,
}

impl Draws {
    /// `a x0 + b eps` for each picture's `[a, b]`: `[B, C, H, W]`.
    pub fn mixed(&self, by: impl Fn(&Draw) -> [f64; 2] + Sync) -> Vec<f32> {
        let size: usize = self.shape[1..].iter().product::<usize>().max(1);
        let mut mixed = self.x0.clone();
        mixed.par_chunks_mut(size).zip(self.eps.par_chunks(size)).zip(&self.each).for_each(|((x, eps), draw)| {
            let [a, b] = by(draw).map(|factor| factor as f32);
            x.iter_mut().zip(eps).for_each(|(x, eps)| *x = a * *x + b * eps);
        });
        mixed
    }
}

/// Draws batches from examples.
pub struct Drawer<'a> {
    /// What is drawn from.
    pub examples: &'a dyn Examples,
    /// Which of them are trained on.
    pub indices: &'a [usize],
    /// The process.
    pub noise: &'a NoiseConfig,
    /// Seed of the run.
    pub seed: u64,
    /// Mirror half of the pictures.
    pub flip: bool,
    /// What the pictures show, in the network's terms.
    pub conditioner: &'a Conditioner,
    /// The share of pictures of which that is not told, so that the network learns to go without.
    pub dropout: f64,
}

impl Drawer<'_> {
    /// The batch of pictures number `from..from + count` of a run, part of an optimiser step that
    /// begins at `step_from` and has `batch` pictures, over whose times a stratified sample is spread.
    pub fn train(&self, order: &mut Shuffled, from: u64, count: usize, step_from: u64, batch: usize) -> Draws {
        let numbers: Vec<u64> = (from..from + count as u64).collect();
        let indices: Vec<usize> = numbers.iter().map(|&n| order.of(self.indices, self.seed, n)).collect();
        let flips: Vec<bool> = numbers.iter().map(|&n| self.flip && is_flipped(self.seed, n)).collect();
        let offset = self.uniform(Use::Time, step_from);
        let at = |n: u64| ((n - step_from) as f64 + offset) / batch as f64;
        let ask = |n: u64, index: usize| match self.uniform(Use::Label, n) < self.dropout {
            true => Ask::None,
            false => self.examples.ask(index, n / self.indices.len() as u64),
        };
        self.draw(&numbers, &indices, &flips, at, ask)
    }

    /// The batch of held-out pictures `indices`, with times spread evenly over `total` and noise that
    /// is the same at every validation. `from` is the first one's number.
    pub fn validation(&self, indices: &[usize], from: usize, total: usize) -> Draws {
        // Numbers above any that training reaches.
        let numbers: Vec<u64> = (0..indices.len()).map(|i| 1 << 55 | (from + i) as u64).collect();
        let at = |n: u64| ((n & !(1 << 55)) as f64 + 0.5) / total as f64;
        self.draw(&numbers, indices, &vec![false; indices.len()], at, |_, index| self.examples.ask(index, 0))
    }

    fn uniform(&self, what: Use, counter: u64) -> f64 {
        uniform(self.seed, what, counter)
    }

    fn draw(
        &self,
        numbers: &[u64],
        indices: &[usize],
        flips: &[bool],
        at: impl Fn(u64) -> f64,
        ask: impl Fn(u64, usize) -> Ask,
    ) -> Draws {
        let x0 = self.examples.batch(indices, flips);
        let NoiseConfig { schedule, parameterization, weighting, timing, .. } = self.noise;
        let quantiles: Vec<f64> = numbers.iter().map(|&n| at(n)).collect();
        let draw = |&u: &f64| Draw::new(&**schedule, &**parameterization, &**weighting, &**timing, u);
        let [channels, height, width] = self.examples.shape();
        let shape = [numbers.len(), channels, height, width];
        let mut eps = vec![0.0; x0.len()];
        let size: usize = shape[1..].iter().product::<usize>().max(1);
        eps.par_chunks_mut(size)
            .zip(numbers)
            .for_each(|(eps, &n)| noise::normal(self.seed, Use::Noise.stream(n), 0, eps));
        let asked = |((&n, &i), x0): ((&u64, &usize), &[f32])| {
            self.conditioner.drawn(ask(n, i), x0, noise::bits(self.seed, Use::Asked.stream(n), 0))
        };
        let ask = numbers.iter().zip(indices).zip(x0.chunks(size)).map(asked).collect();
        Draws { shape, ask, x0, eps, each: quantiles.iter().map(draw).collect(), quantiles }
    }
}

/// The order of the pictures in the current pass over the data.
#[derive(Default)]
pub struct Shuffled {
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Shuffled {
    /// Which of the training pictures `indices` is number `n` of a run.
    pub fn of(&mut self, indices: &[usize], seed: u64, n: u64) -> usize {
        let pictures = indices.len() as u64;
        let epoch = n / pictures;
        if self.epoch != Some(epoch) {
            self.order = noise::shuffled(seed, Use::Order.stream(epoch), pictures as u32);
            self.epoch = Some(epoch);
        }
        indices[self.order[(n % pictures) as usize] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Classes;
    use crate::train::Config;

    /// Numbers in the place of pictures.
    struct Numbers;

    impl Examples for Numbers {
        fn len(&self) -> usize {
            11
        }

        fn shape(&self) -> [usize; 3] {
            [1, 1, 2]
        }

        fn batch(&self, indices: &[usize], flips: &[bool]) -> Vec<f32> {
            indices.iter().zip(flips).flat_map(|(&i, &flip)| [i as f32, f32::from(flip)]).collect()
        }

        fn ask(&self, index: usize, _: u64) -> Ask {
            Ask::Class(index as u32)
        }
    }

    /// All that is random about a picture follows from its number: whatever parts a batch is drawn in, over the end of a pass over
    /// the data, too.
    #[test]
    fn parts_of_a_batch_draw_what_the_batch_draws() {
        let noise = Config::layered("quick", None, &[]).unwrap().noise;
        let conditioner = Classes::new(&[], 12, Some(11)).into();
        let indices: Vec<usize> = (0..11).collect();
        let (examples, noise, indices) = (&Numbers, &noise, &indices[..]);
        let drawer = Drawer { examples, indices, noise, seed: 3, flip: true, conditioner: &conditioner, dropout: 0.4 };
        let whole = drawer.train(&mut Shuffled::default(), 32, 32, 32, 32);
        for part in [1, 8, 16] {
            let mut order = Shuffled::default();
            let parts: Vec<Draws> =
                (32..64).step_by(part).map(|from| drawer.train(&mut order, from, part, 32, 32)).collect();
            assert_eq!(Cond::concat(parts.iter().map(|part| &part.ask)), whole.ask);
            let all = |of: fn(&Draws) -> &[f32]| parts.iter().flat_map(of).copied().collect::<Vec<f32>>();
            assert!(all(|draws| &draws.x0) == whole.x0 && all(|draws| &draws.eps) == whole.eps);
            assert_eq!(parts.iter().flat_map(|part| part.quantiles.clone()).collect::<Vec<_>>(), whole.quantiles);
        }
        let dropped = whole.ask.asks.iter().filter(|ask| **ask == Ask::None).count();
        assert!((5..22).contains(&dropped), "{dropped} of 32 are told nothing");
    }
}
