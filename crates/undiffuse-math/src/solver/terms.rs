//! Rows written as sums over the images of a walk, by their place.

use super::one_step;
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use std::ops::{Add, Mul, Sub};

/// An image of a walk: what row `k` starts from, or what is evaluated in it.
#[derive(Copy, Clone)]
enum Image {
    X(usize),
    Denoised(usize),
}

/// A weighted sum of images.
#[derive(Clone, Default)]
pub(super) struct Terms(Vec<(Image, f64)>);

impl Terms {
    /// The image that row `k` starts from.
    pub fn x(k: usize) -> Self {
        Self(vec![(Image::X(k), 1.0)])
    }

    /// The denoised image of row `k`.
    pub fn denoised(k: usize) -> Self {
        Self(vec![(Image::Denoised(k), 1.0)])
    }
}

impl Add for Terms {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl Sub for Terms {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + other * -1.0
    }
}

impl Mul<f64> for Terms {
    type Output = Self;
    fn mul(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|(_, c)| *c *= factor);
        self
    }
}

/// A plan in the making: [`Tape::evaluate`] begins a row, [`Tape::step`] ends it.
#[derive(Default)]
pub(super) struct Tape {
    rows: Vec<Row>,
}

impl Tape {
    /// Asks the denoiser about the current image, which is at `level`; the place of both is given back.
    pub fn evaluate(&mut self, level: NoiseLevel) -> usize {
        self.rows.push(Row { level, ..Row::default() });
        self.rows.len() - 1
    }

    /// The noise `(x - alpha D) / sigma` that row `k` sees.
    pub fn eps(&self, k: usize) -> Terms {
        let NoiseLevel { alpha, sigma } = self.rows[k].level;
        (Terms::x(k) - Terms::denoised(k) * alpha) * (1.0 / sigma)
    }

    /// `alpha eps - sigma D` as row `k` sees it.
    pub fn v(&self, k: usize) -> Terms {
        let NoiseLevel { alpha, sigma } = self.rows[k].level;
        self.eps(k) * alpha - Terms::denoised(k) * sigma
    }

    /// The first-order step from the image of row `k`, evaluated there, to a level.
    pub fn euler(&self, k: usize, to: NoiseLevel) -> Terms {
        let row = one_step(self.rows[k].level, to, 0.0);
        Terms::x(k) * row.x[0] + Terms::denoised(k) * row.denoised[0]
    }

    /// Makes the next image, at level `to`.
    pub fn step(&mut self, to: NoiseLevel, sum: Terms) {
        let newest = self.rows.len() - 1;
        let row = &mut self.rows[newest];
        row.next = to;
        for (image, c) in sum.0 {
            let (list, k) = match image {
                Image::X(k) => (&mut row.x, k),
                Image::Denoised(k) => (&mut row.denoised, k),
            };
            let lag = newest - k;
            list.resize(list.len().max(lag + 1), 0.0);
            list[lag] += c;
        }
        for list in [&mut row.x, &mut row.denoised] {
            list.truncate(list.iter().rposition(|c| *c != 0.0).map_or(1, |last| last + 1));
            list.resize(list.len().max(1), 0.0);
        }
    }

    /// Adds fresh noise to the image just made.
    pub fn add_noise(&mut self, noise: f64) {
        if let Some(row) = self.rows.last_mut() {
            row.noise = noise;
        }
    }

    /// The plan, starting as noisy as data of unit variance are at its first level.
    pub fn plan(self) -> Plan {
        Plan { init_noise_sigma: self.rows.first().map_or(0.0, |row| row.level.scale()), rows: self.rows }
    }
}
