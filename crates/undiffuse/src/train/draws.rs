//! Everything random about one step, as a function of the seed and of how many pictures were seen.
//!
//! Nothing here has a state: picture number `n` of a run always gets the same place in the data,
//! mirror, time, noise and label, so a resumed run draws what an uninterrupted one would have drawn.

use rayon::prelude::*;
use undiffuse_math::{draw::Draw, likelihood::learned_step, noise, prelude::Schedule};

use super::config::{NoiseConfig, Variance};
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
}

impl Use {
    fn stream(self, counter: u64) -> u64 {
        (self as u64) << 56 | counter
    }
}

/// The seed of dropout for the part of a step that begins at picture number `from`.
pub fn dropout_seed(seed: u64, from: u64) -> u64 {
    noise::bits(seed, Use::Dropout.stream(from), 0)
}

/// The noisy pictures of a batch and what the network should answer.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    /// What goes into the network `[B, C, H, W]`, already scaled by the parameterisation.
    pub input: Vec<f32>,
    /// What should come out `[B, C, H, W]`.
    pub target: Vec<f32>,
    /// What the network reads of the noise `[B]`.
    pub c_noise: Vec<f32>,
    /// What the network is asked for `[B]`.
    pub ask: Cond,
    /// Weight of each picture's squared error `[B]`.
    pub weights: Vec<f32>,
    /// The timing's quantile of each picture `[B]`.
    pub quantiles: Vec<f64>,
    /// The factor in each weight that makes up for the timing's preference `[B]`.
    pub corrections: Vec<f64>,
    /// Each picture's term of the bound, for networks that learn the variance.
    pub steps: Option<Vec<Step>>,
}

/// One picture's term of the variational bound as a function of the variance `p²` that the network answers and of its
/// squared error `e`: `(ln p² - ln q² - 1 + (q² + gap · e) / p²) / 2` nats a number.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// `q²`.
    pub posterior: f32,
    /// Between which `ln p²` lies.
    pub log_variances: [f32; 2],
    /// From the network's error to that of the step's mean, squared.
    pub gap: f32,
    /// What a number's nats are multiplied by in the loss: a thousandth of the whole bound in bits, corrected for the
    /// timing \[Nichol21, Eq. 16\].
    pub scale: f32,
}

impl Step {
    fn new(schedule: &dyn Schedule, draw: &Draw) -> Self {
        // The standard deviation of a uniform number in a pixel value's interval.
        let rounding = 1.0 / 127.5 / 12f64.sqrt();
        let step = learned_step(schedule, draw.time, rounding);
        let (low, high) = step.log_variances;
        let steps = schedule.discrete_steps().unwrap_or(1000) as f64;
        Self {
            posterior: step.posterior.powi(2) as f32,
            log_variances: [low as f32, high as f32],
            gap: (step.weight * draw.scaling.out).powi(2) as f32,
            scale: (steps / 1000.0 / std::f64::consts::LN_2 * draw.correction) as f32,
        }
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
    pub fn train(&self, order: &mut Order, from: u64, count: usize, step_from: u64, batch: usize) -> Draws {
        let numbers: Vec<u64> = (from..from + count as u64).collect();
        let indices: Vec<usize> = numbers.iter().map(|&n| self.indices[order.place(self, n)]).collect();
        let flips = numbers.iter().map(|&n| self.flip && self.uniform(Use::Flip, n) < 0.5).collect::<Vec<_>>();
        let offset = self.uniform(Use::Time, step_from);
        let at = |n: u64| ((n - step_from) as f64 + offset) / batch as f64;
        let ask = |n: u64, index: usize| match self.uniform(Use::Label, n) < self.dropout {
            true => Ask::None,
            false => self.examples.ask(index),
        };
        self.draw(&numbers, &indices, &flips, at, ask)
    }

    /// The batch of held-out pictures `indices`, with times spread evenly over `total` and noise that
    /// is the same at every validation. `from` is the first one's number.
    pub fn validation(&self, indices: &[usize], from: usize, total: usize) -> Draws {
        // Numbers above any that training reaches.
        let numbers: Vec<u64> = (0..indices.len()).map(|i| 1 << 55 | (from + i) as u64).collect();
        let at = |n: u64| ((n & !(1 << 55)) as f64 + 0.5) / total as f64;
        self.draw(&numbers, indices, &vec![false; indices.len()], at, |_, index| self.examples.ask(index))
    }

    fn uniform(&self, what: Use, counter: u64) -> f64 {
        noise::uniform(self.seed, what.stream(counter), 0)
    }

    fn draw(
        &self,
        numbers: &[u64],
        indices: &[usize],
        flips: &[bool],
        at: impl Fn(u64) -> f64,
        ask: impl Fn(u64, usize) -> Ask,
    ) -> Draws {
        let input = self.examples.batch(indices, flips);
        let NoiseConfig { schedule, parameterization, weighting, timing, variance } = self.noise;
        let quantiles: Vec<f64> = numbers.iter().map(|&n| at(n)).collect();
        let each: Vec<Draw> = quantiles
            .iter()
            .map(|&u| Draw::new(&**schedule, &**parameterization, &**weighting, &**timing, u))
            .collect();
        let mut draws = Draws {
            c_noise: each.iter().map(|d| d.c_noise as f32).collect(),
            weights: each.iter().map(|d| d.target_weight() as f32).collect(),
            quantiles,
            corrections: each.iter().map(|d| d.correction).collect(),
            steps: (*variance == Variance::Learned)
                .then(|| each.iter().map(|draw| Step::new(&**schedule, draw)).collect()),
            ask: numbers.iter().zip(indices).map(|(&n, &i)| ask(n, i)).collect(),
            target: vec![0.0; input.len()],
            input,
        };
        let per_image = draws.input.len() / numbers.len().max(1);
        draws
            .input
            .par_chunks_mut(per_image.max(1))
            .zip(draws.target.par_chunks_mut(per_image.max(1)))
            .zip(numbers.par_iter().zip(&each))
            .for_each(|((input, target), (&n, Draw { level, scaling: s, .. }))| {
                noise::normal(self.seed, Use::Noise.stream(n), 0, target);
                let [a, b] = [s.input * level.alpha, s.input * level.sigma].map(|x| x as f32);
                let [c, d] = [s.target_x0, s.target_eps].map(|x| x as f32);
                for (x, e) in input.iter_mut().zip(target) {
                    let (x0, eps) = (*x, *e);
                    *x = a * x0 + b * eps;
                    *e = c * x0 + d * eps;
                }
            });
        draws
    }
}

/// The order of the pictures in the current pass over the data.
#[derive(Default)]
pub struct Order {
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Order {
    /// Where picture number `n` of a run stands among the training pictures.
    fn place(&mut self, drawer: &Drawer, n: u64) -> usize {
        let pictures = drawer.indices.len() as u64;
        let epoch = n / pictures;
        if self.epoch != Some(epoch) {
            self.order = noise::shuffled(drawer.seed, Use::Order.stream(epoch), pictures as u32);
            self.epoch = Some(epoch);
        }
        self.order[(n % pictures) as usize] as usize
    }
}
