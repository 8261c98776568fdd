//! Plans: samplers as data, and the one interpreter that runs them.

use crate::level::NoiseLevel;
use std::collections::VecDeque;

/// One evaluation of the denoiser and the step that follows it:
/// `x ← Σ_l x[l] · x_(-l) + Σ_l denoised[l] · D_(-l) + noise · z`, `z ~ N(0, I)`.
///
/// Lag 0 is the current `x` and the `D` just evaluated from it, lag 1 those of the row before, and so on.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Row {
    /// The level at which the denoiser is asked, which is that of the current `x`.
    pub level: NoiseLevel,
    /// The schedule's time of `level` where the plan was made from a [`Grid`](crate::spacing::Grid) that knows it;
    /// otherwise [`Schedule::time`](crate::schedule::Schedule::time) of the log-SNR is meant.
    pub time: Option<f64>,
    /// The level of the new `x`.
    pub next: NoiseLevel,
    /// Coefficients of past `x`, by lag.
    pub x: Vec<f64>,
    /// Coefficients of past denoised images, by lag.
    pub denoised: Vec<f64>,
    /// Coefficient of fresh noise.
    pub noise: f64,
}

/// A whole sampler.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Standard deviation of the noise that the walk starts from, as diffusers has it; 0 where it starts from a picture.
    pub init_noise_sigma: f64,
    /// The steps, in order; one network evaluation each.
    pub rows: Vec<Row>,
}

impl Plan {
    /// Number of network evaluations.
    pub fn nfe(&self) -> usize {
        self.rows.len()
    }

    /// Multiplies the image that row `k` starts from, which leaves its log-SNR as it was: what made it makes it larger,
    /// and those that read it, in the next `lags` rows, take less of it.
    pub(crate) fn rescale(&mut self, k: usize, factor: f64, lags: usize) {
        let NoiseLevel { alpha, sigma } = self.rows[k].level;
        let level = NoiseLevel { alpha: alpha * factor, sigma: sigma * factor };
        if let Some(before) = k.checked_sub(1) {
            let made = &mut self.rows[before];
            made.next = level;
            made.x.iter_mut().chain(&mut made.denoised).chain([&mut made.noise]).for_each(|c| *c *= factor);
        } else {
            self.init_noise_sigma *= factor;
        }
        for (lag, row) in self.rows[k..].iter_mut().take(lags).enumerate() {
            if let Some(c) = row.x.get_mut(lag) {
                *c /= factor;
            }
        }
        self.rows[k].level = level;
    }

    /// For each `x` (and each `D`) of the walk, the last row that reads it.
    fn last_uses(&self, coefficients: impl Fn(&Row) -> &[f64]) -> Vec<usize> {
        let mut last: Vec<usize> = (0..=self.rows.len()).collect();
        for (i, row) in self.rows.iter().enumerate() {
            for (lag, c) in coefficients(row).iter().enumerate() {
                if let (true, Some(k)) = (*c != 0.0, i.checked_sub(lag)) {
                    last[k] = last[k].max(i);
                }
            }
        }
        last
    }
}

/// The interpreter's state: where a walk through a [`Plan`] is, and the past images that later rows still read.
///
/// `X` is whatever images are: a tensor, an `f64`, a vector of moments. Images that no later row reads are dropped at
/// once.
///
/// ```
/// use undiffuse_math::{plan::Walk, schedule::Vp, solver::Heun, spacing::{Grid, Karras, Last}};
/// // One pixel whose data are all 0.3: the exact denoiser answers 0.3 whatever it is asked.
/// let schedule = Vp::default();
/// let plan = Grid::new(&schedule, &Karras::default(), 10, Last::Clean)?.plan(&Heun::default())?;
/// let mut walk = Walk::new(&plan, 1.0);
/// while let Some(_row) = walk.row() {
///     walk.step(0.3, None, |terms| terms.iter().map(|(c, x)| c * **x).sum());
/// }
/// assert!((walk.x() - 0.3f64).abs() < 1e-12);
/// # Ok::<(), undiffuse_math::solver::PlanError>(())
/// ```
#[derive(Debug)]
pub struct Walk<'p, X> {
    plan: &'p Plan,
    done: usize,
    xs: History<X>,
    denoised: History<X>,
}

/// Past values, the newest first, each kept until its last use.
#[derive(Debug)]
struct History<X> {
    values: VecDeque<(usize, X)>,
    last_uses: Vec<usize>,
}

impl<X> History<X> {
    fn push(&mut self, index: usize, value: X) {
        self.values.push_front((index, value));
    }

    fn drop_unused(&mut self, next_row: usize) {
        self.values.retain(|(index, _)| self.last_uses[*index] >= next_row);
    }

    /// The non-zero terms of a sum over lags, `newest` being the index of lag 0.
    fn terms<'a>(&'a self, newest: usize, coefficients: &'a [f64]) -> impl Iterator<Item = (f64, &'a X)> {
        self.values
            .iter()
            .filter_map(move |(index, value)| Some((*coefficients.get(newest - index)?, value)))
            .filter(|(c, _)| *c != 0.0)
    }
}

impl<'p, X> Walk<'p, X> {
    /// Starts at `x`: pure noise times [`Plan::init_noise_sigma`], or a noised image.
    pub fn new(plan: &'p Plan, x: X) -> Self {
        let history = |last_uses| History { values: VecDeque::new(), last_uses };
        let mut xs = history(plan.last_uses(|row| &row.x));
        xs.push(0, x);
        Self { plan, done: 0, xs, denoised: history(plan.last_uses(|row| &row.denoised)) }
    }

    /// The row to be run next; `None` at the end.
    pub fn row(&self) -> Option<&'p Row> {
        self.plan.rows.get(self.done)
    }

    /// How many rows have been run.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The current image.
    pub fn x(&self) -> &X {
        &self.xs.values[0].1
    }

    /// Puts another image in the place of the current one: for inpainting, and for samplers that move `x` when the
    /// denoised image is clipped.
    pub fn replace_x(&mut self, x: X) {
        self.xs.values[0].1 = x;
    }

    /// The current image, giving up the rest.
    pub fn into_x(mut self) -> X {
        let (_, x) = self.xs.values.swap_remove_front(0).expect("a walk always has a current image");
        x
    }

    /// Runs one row: `denoised` is the denoiser's answer for [`Walk::x`] at the row's level, `noise` is standard
    /// normal (and needed where the row's `noise` is not 0), `sum` forms `Σ c · x` of at least one term. Nothing
    /// happens at the end of the plan.
    ///
    /// # Panics
    /// If the row has noise and none is given: that would silently be another sampler.
    pub fn step(&mut self, denoised: X, noise: Option<X>, sum: impl FnOnce(&[(f64, &X)]) -> X) {
        let Some(row) = self.row() else { return };
        self.denoised.push(self.done, denoised);
        let mut terms: Vec<_> = self.xs.terms(self.done, &row.x).collect();
        terms.extend(self.denoised.terms(self.done, &row.denoised));
        if row.noise != 0.0 {
            let noise = noise.as_ref().expect("this row adds noise: give it some");
            terms.push((row.noise, noise));
        }
        if terms.is_empty() {
            // A zero image still has to have the right shape.
            terms.push((0.0, self.x()));
        }
        let x = sum(&terms);
        drop(terms);
        self.done += 1;
        self.xs.push(self.done, x);
        self.xs.drop_unused(self.done);
        self.denoised.drop_unused(self.done);
    }

    /// How many images the walk holds at the moment.
    pub fn held(&self) -> usize {
        self.xs.values.len() + self.denoised.values.len()
    }
}
