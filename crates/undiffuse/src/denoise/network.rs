//! A network read through its parameterisation.

use std::collections::VecDeque;
use std::sync::Mutex;

use burn::tensor::{Device, Int, Tensor, TensorData};
use undiffuse_math::draw::c_noise;
use undiffuse_math::prelude::{ParameterizationKind, Scaling, ScheduleKind};
use undiffuse_nn::Condition;

use super::{At, Cond, Denoise, Guess, per_image};
use crate::condition::{Ask, Conditioner};
use crate::part::lock;

/// `D(x, level) = skip · x + out · F(input · x, c_noise)` \[Karras22, Eq. 7\].
#[derive(Debug)]
pub struct Denoiser<'a> {
    /// The network `F`.
    pub network: &'a undiffuse_nn::Network,
    /// What it reads of what is asked.
    pub conditioner: &'a Conditioner,
    /// The schedule, for networks that read its timesteps.
    pub schedule: &'a ScheduleKind,
    /// How `F` is read.
    pub parameterization: &'a ParameterizationKind,
    /// Whether the second half of its channels is a variance.
    pub learned_variance: bool,
    /// What it was told lately.
    pub heard: Heard,
}

/// What a network was asked lately, and reads of that: at every step of a walk it is the same.
#[derive(Debug, Default)]
pub struct Heard(Mutex<VecDeque<(Vec<Ask>, Condition)>>);

/// Batches of asks that are remembered: those of a step, which may be of several lengths.
const HEARD: usize = 4;

impl Denoiser<'_> {
    /// `[B, C, H, W]` → what the network answers, of pictures that it reads together.
    fn answer(&self, x: Tensor<4>, c_noise: &[f32], cond: &Cond) -> Tensor<4> {
        let mut condition = match cond.is_empty() {
            true => Condition::default(),
            // What gradients go through is made at every evaluation.
            false if x.is_autodiff() => self.conditioner.encode(&cond.asks, &x.device()),
            false => self.told(&cond.asks, &x.device()),
        };
        if let Some(canvas) = self.canvas(&x, cond) {
            condition.beside = Some(canvas);
        }
        let width = self.network.config().io().timestep_cond.filter(|_| !cond.strengths().is_empty());
        condition.timestep_cond = width.map(|width| strengths(cond.strengths(), width, &x.device()));
        self.network.forward(x, c_noise, &condition)
    }

    /// What the network reads of asks, and makes of that whatever the picture is.
    fn told(&self, asks: &[Ask], device: &Device) -> Condition {
        let mut heard = lock(&self.heard.0);
        if let Some((_, condition)) = heard.iter().find(|(others, _)| others == asks) {
            return condition.clone();
        }
        let condition = self.network.attend(self.conditioner.encode(asks, device));
        heard.truncate(HEARD - 1);
        heard.push_front((asks.to_vec(), condition.clone()));
        condition
    }

    /// The same of any, group after group.
    fn answers(&self, x: Tensor<4>, c_noise: &[f32], cond: &Cond) -> Tensor<4> {
        let groups = self.conditioner.together(&cond.asks);
        if cond.is_empty() || groups.len() == 1 {
            return self.answer(x, c_noise, cond);
        }
        let device = x.device();
        let places = |of: &[usize]| {
            let of: Vec<i32> = of.iter().map(|&k| k as i32).collect();
            let n = of.len();
            Tensor::<1, Int>::from_data(TensorData::new(of, [n]), &device)
        };
        let answer = |group: &Vec<usize>| {
            let c_noise: Vec<f32> = group.iter().map(|&k| c_noise[k]).collect();
            self.answer(x.clone().select(0, places(group)), &c_noise, &cond.select(group.iter().copied()))
        };
        let answers = Tensor::cat(groups.iter().map(answer).collect(), 0);
        let order = groups.concat();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &k)| back[k] = place);
        answers.select(0, places(&back))
    }

    /// What is painted into, where the network reads that beside what it denoises: a canvas that is all to be painted where there
    /// is none.
    fn canvas(&self, x: &Tensor<4>, cond: &Cond) -> Option<Tensor<4>> {
        let [b, c, h, w] = x.dims();
        let more = self.network.config().io().channels_in - c - self.conditioner.beside();
        if more == 0 {
            return None;
        }
        let device = x.device();
        Some(match cond.canvases().is_empty() {
            true => {
                Tensor::cat(vec![Tensor::ones([b, 1, h, w], &device), Tensor::zeros([b, more - 1, h, w], &device)], 1)
            }
            false => Tensor::cat(cond.canvases().iter().map(|canvas| (*canvas.0).clone()).collect(), 0),
        })
    }
}

/// Guidance scales as a distilled network reads them, `[B, width]`: sines and cosines of `1000 (scale - 1)`, in the precision in
/// which such networks were trained.
fn strengths(scales: &[f64], width: usize, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let step = 10_000f32.ln() / (half.max(2) - 1) as f32;
    let row = |&scale: &f64| {
        let angle = move |i: usize| (scale - 1.0) as f32 * 1000.0 * (-(i as f32) * step).exp();
        let row = (0..half).map(move |i| angle(i).sin()).chain((0..half).map(move |i| angle(i).cos()));
        row.chain(std::iter::repeat_n(0.0, width % 2))
    };
    let values: Vec<f32> = scales.iter().flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [scales.len(), width]), device)
}

impl Denoise for Denoiser<'_> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let device = x.device();
        let [_, c, _, _] = x.dims();
        let scalings: Vec<Scaling> = at.iter().map(|at| self.parameterization.scaling(at.level)).collect();
        let factor = |of: fn(&Scaling) -> f64| per_image(scalings.iter().map(of), &device);
        let c_noise: Vec<f32> =
            scalings.iter().zip(at).map(|(s, at)| c_noise(&**self.schedule, s, at.level, at.time) as f32).collect();
        let y = self.answers(x.clone() * factor(|s| s.input), &c_noise, cond);
        // What there is beyond the picture's channels is a variance, or nobody's business.
        let twice = y.dims()[1] == 2 * c;
        let variance = (twice && self.learned_variance).then(|| y.clone().narrow(1, c, c));
        let y = if twice { y.narrow(1, 0, c) } else { y };
        Guess { x0: x * factor(|s| s.skip) + y * factor(|s| s.out), variance }
    }

    fn device(&self) -> Device {
        self.network.device()
    }
}
