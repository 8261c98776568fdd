//! An adaptive solver of ordinary differential equations, for walks whose steps depend on the picture.
//!
//! [`Plan`](crate::plan::Plan)s have fixed steps. Here the step follows the error: the fifth-order formula of Dormand and
//! Prince, whose embedded fourth-order one says how far off it is [Dormand80, Table 2: RK5(4)7M]. Several independent
//! problems are solved side by side, each with its own steps, so that a network can answer them as one batch and no
//! answer depends on the others.

/// A tolerance, and the patience to reach it.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct DormandPrince {
    /// Error allowed in a step, as a share of the value.
    pub rtol: f64,
    /// Error allowed in a step, whatever the value.
    pub atol: f64,
    /// Evaluations for one problem, at most.
    pub max_evaluations: usize,
}

impl Default for DormandPrince {
    fn default() -> Self {
        Self { rtol: 1e-5, atol: 1e-5, max_evaluations: 20_000 }
    }
}

/// What a problem wants to know: its rate `dy/dt` at a time.
#[derive(Copy, Clone, Debug)]
pub struct RateQuery<'a> {
    /// Which problem.
    pub problem: usize,
    /// When.
    pub t: f64,
    /// Where.
    pub y: &'a [f64],
}

/// Where a problem ended, and what it cost.
#[derive(Clone, PartialEq, Debug)]
pub struct Solution {
    /// The end.
    pub y: Vec<f64>,
    /// Evaluations of the rate.
    pub evaluations: usize,
    /// Steps that were too long and taken again, shorter.
    pub rejected: usize,
}

/// Why a problem could not be solved.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum OdeError {
    /// The tolerance is out of reach.
    #[error(
        "the ODE of picture {problem} is at {t:.4} after {evaluations} evaluations: allow a larger error than rtol {rtol:e}"
    )]
    TooStiff {
        /// Which problem.
        problem: usize,
        /// How far it came.
        t: f64,
        /// What was spent.
        evaluations: usize,
        /// The tolerance.
        rtol: f64,
    },
    /// The rate is no number.
    #[error("the ODE of picture {problem} has no finite rate at {t:.4}: the network answers NaN or infinity there")]
    NotFinite {
        /// Which problem.
        problem: usize,
        /// Where.
        t: f64,
    },
}

impl OdeError {
    /// The same error where problems were counted from `before` on.
    pub fn after(mut self, before: usize) -> Self {
        match &mut self {
            OdeError::TooStiff { problem, .. } | OdeError::NotFinite { problem, .. } => *problem += before,
        }
        self
    }
}

const STAGES: usize = 7;
const NODES: [f64; STAGES] = [0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0];
/// Weights of earlier rates in each stage; the last row is the fifth-order result.
const A: [&[f64]; STAGES] = [
    &[],
    &[0.2],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
    &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];
/// Fifth-order weights less fourth-order ones.
const ERROR: [f64; STAGES] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

/// One problem on its way.
struct Path {
    t: f64,
    step: f64,
    y: Vec<f64>,
    /// The rates of the stages so far; the first belongs to `(t, y)`.
    rates: Vec<Vec<f64>>,
    evaluations: usize,
    rejected: usize,
}

impl DormandPrince {
    /// Solves `dy/dt = rate(t, y)` for each start from `from` to `to`, in either direction.
    ///
    /// `rate` answers a list of questions, each of another problem, with one vector each. The last `tail` numbers of
    /// every `y` are held to the tolerance by themselves: an integral beside a picture would be drowned by its pixels.
    ///
    /// The first step would move `y` by about a hundredth of itself [Hairer93, II.4]. Their second trial step, which costs
    /// an evaluation, is left out, and where `y` or its rate is nearly 0 the step is a thousandth of the whole way (theirs:
    /// 1e-6). Like every step it is repeated, shorter, when its error is too large.
    ///
    /// # Errors
    /// Problems that do not reach `to` within [`DormandPrince::max_evaluations`], and rates that are not finite.
    pub fn solve(
        &self,
        starts: Vec<Vec<f64>>,
        (from, to): (f64, f64),
        tail: usize,
        mut rate: impl FnMut(&[RateQuery<'_>]) -> Vec<Vec<f64>>,
    ) -> Result<Vec<Solution>, OdeError> {
        let span = to - from;
        let new = |y| Path { t: from, step: 0.0, y, rates: Vec::new(), evaluations: 1, rejected: 0 };
        let mut paths: Vec<Path> = starts.into_iter().map(new).collect();
        let asks: Vec<RateQuery<'_>> =
            paths.iter().enumerate().map(|(problem, p)| RateQuery { problem, t: from, y: &p.y }).collect();
        let first = rate(&asks);
        for (problem, (path, k)) in paths.iter_mut().zip(first).enumerate() {
            finite(problem, from, &k)?;
            // About a hundredth of the way that y is long.
            let (size, speed) = (self.norm(&path.y, &path.y, &path.y, 0), self.norm(&k, &path.y, &path.y, 0));
            let step = if size > 1e-5 && speed > 1e-5 { 0.01 * size / speed } else { 1e-3 * span.abs() };
            path.step = step.min(span.abs()) * span.signum();
            path.rates = vec![k];
        }
        let left = |path: &Path| (to - path.t) * span.signum() > 0.0;
        let mut active: Vec<usize> = (0..paths.len()).filter(|&i| left(&paths[i])).collect();
        while !active.is_empty() {
            for stage in 1..STAGES {
                let ys: Vec<Vec<f64>> = active.iter().map(|&i| paths[i].along(A[stage])).collect();
                let ask =
                    |(&i, y): (&usize, _)| RateQuery { problem: i, t: paths[i].t + NODES[stage] * paths[i].step, y };
                let asks: Vec<RateQuery<'_>> = active.iter().zip(&ys).map(|(i, y)| ask((i, y.as_slice()))).collect();
                let rates = rate(&asks);
                for (&i, k) in active.iter().zip(rates) {
                    finite(i, paths[i].t, &k)?;
                    paths[i].rates.push(k);
                    paths[i].evaluations += 1;
                }
            }
            for &i in &active {
                let path = &mut paths[i];
                self.finish_step(path, to, tail);
                if left(path) && path.evaluations >= self.max_evaluations {
                    let Path { t, evaluations, .. } = *path;
                    return Err(OdeError::TooStiff { problem: i, t, evaluations, rtol: self.rtol });
                }
            }
            active.retain(|&i| left(&paths[i]));
        }
        let solution = |Path { y, evaluations, rejected, .. }| Solution { y, evaluations, rejected };
        Ok(paths.into_iter().map(solution).collect())
    }

    /// Takes the step or takes it back, and chooses the next one's length.
    fn finish_step(&self, path: &mut Path, to: f64, tail: usize) {
        let y = path.along(A[STAGES - 1]);
        let error: Vec<f64> = path.along(&ERROR).iter().zip(&path.y).map(|(moved, y)| moved - y).collect();
        let error = self.norm(&error, &path.y, &y, tail);
        // An error of 0 makes the longest step that is allowed.
        let factor = (0.9 * error.powf(-0.2)).clamp(0.2, 10.0);
        if error <= 1.0 {
            // The last stage was evaluated at the new point.
            let last = path.rates.pop().unwrap_or_default();
            path.t += path.step;
            (path.y, path.rates) = (y, vec![last]);
        } else {
            path.rates.truncate(1);
            path.rejected += 1;
        }
        path.step *= factor;
        let left = to - path.t;
        // The end is met exactly, and not with a last step of nearly nothing.
        if path.step.abs() >= left.abs() * (1.0 - 1e-9) {
            path.step = left;
            if left.abs() <= 1e-12 * to.abs().max(1.0) {
                path.t = to;
            }
        }
    }

    /// The root mean square of `error` in units of what is allowed; that of the last `tail` numbers if it is larger.
    fn norm(&self, error: &[f64], before: &[f64], after: &[f64], tail: usize) -> f64 {
        let shares: Vec<f64> = error
            .iter()
            .zip(before.iter().zip(after))
            .map(|(e, (a, b))| (e / (self.atol + self.rtol * a.abs().max(b.abs()))).powi(2))
            .collect();
        let mean = |part: &[f64]| (part.iter().sum::<f64>() / part.len().max(1) as f64).sqrt();
        let (head, tail) = shares.split_at(shares.len() - tail.min(shares.len()));
        mean(head).max(mean(tail))
    }
}

impl Path {
    /// `y + step · Σ weight · rate`.
    fn along(&self, weights: &[f64]) -> Vec<f64> {
        let mut y = self.y.clone();
        for (weight, rate) in weights.iter().zip(&self.rates).filter(|(w, _)| **w != 0.0) {
            y.iter_mut().zip(rate).for_each(|(y, k)| *y += self.step * weight * k);
        }
        y
    }
}

fn finite(problem: usize, t: f64, rate: &[f64]) -> Result<(), OdeError> {
    if rate.iter().all(|k| k.is_finite()) { Ok(()) } else { Err(OdeError::NotFinite { problem, t }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(rtol: f64, starts: Vec<Vec<f64>>, span: (f64, f64), f: impl Fn(f64, &[f64]) -> Vec<f64>) -> Vec<Solution> {
        let solver = DormandPrince { rtol, atol: rtol, ..DormandPrince::default() };
        solver.solve(starts, span, 0, |asks| asks.iter().map(|a| f(a.t, a.y)).collect()).unwrap()
    }

    /// The Kepler orbit of eccentricity 0.5 closes after 2π; `y = tan t` has its closed form.
    #[test]
    fn known_solutions() {
        let kepler = |_: f64, y: &[f64]| {
            let r3 = (y[0] * y[0] + y[1] * y[1]).powf(1.5);
            vec![y[2], y[3], -y[0] / r3, -y[1] / r3]
        };
        let start = vec![0.5, 0.0, 0.0, 3f64.sqrt()];
        for (rtol, error) in [(1e-6, 1e-3), (1e-10, 1e-7)] {
            let end = solve(rtol, vec![start.clone()], (0.0, 2.0 * std::f64::consts::PI), kepler);
            let off = end[0].y.iter().zip(&start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < error, "rtol {rtol}: {off} after {} evaluations", end[0].evaluations);
        }
        let tan = |_: f64, y: &[f64]| vec![1.0 + y[0] * y[0]];
        let back = solve(1e-9, vec![vec![1f64.tan()]], (1.0, -1.0), tan);
        assert!((back[0].y[0] + 1f64.tan()).abs() < 1e-7, "{back:?}");
    }

    /// A fifth-order method's local error control makes the work grow as tolerance^(-1/5).
    #[test]
    fn work_grows_slowly_with_precision() {
        let oscillator = |_: f64, y: &[f64]| vec![y[1], -y[0]];
        let cost = |rtol| solve(rtol, vec![vec![1.0, 0.0]], (0.0, 50.0), oscillator)[0].evaluations as f64;
        let exponent = (cost(1e-10) / cost(1e-5)).log10() / 5.0;
        assert!((exponent - 0.2).abs() < 0.03, "{exponent}");
    }

    /// A problem's solution is the same bits alone and beside others that are harder.
    #[test]
    fn problems_do_not_see_each_other() {
        let f = |t: f64, y: &[f64]| vec![-y[0] * (5.0 * t).cos() * (2.0 + y[0].sin())];
        let starts = [0.1, 2.0, 400.0].map(|y| vec![y]);
        let together = solve(1e-7, starts.to_vec(), (0.0, 3.0), f);
        for (start, solution) in starts.into_iter().zip(together) {
            assert_eq!(solve(1e-7, vec![start], (0.0, 3.0), f), [solution]);
        }
    }

    #[test]
    fn what_cannot_be_solved_is_said() {
        let solver = DormandPrince { max_evaluations: 100, ..DormandPrince::default() };
        let run = |f: fn(f64) -> f64| {
            solver.solve(vec![vec![1.0]], (0.0, 10.0), 0, |asks| asks.iter().map(|a| vec![f(a.y[0])]).collect())
        };
        assert!(run(|y| y * y).is_err_and(|e| e.to_string().contains("larger error")));
        assert!(run(|_| f64::NAN).is_err_and(|e| e.to_string().contains("finite")));
        assert!(solver.solve(vec![vec![1.0]], (1.0, 1.0), 0, |_| vec![vec![0.0]]).is_ok_and(|s| s[0].y == [1.0]));
    }

    /// The integral of a rate beside a picture of a thousand still pixels is also held to the tolerance.
    #[test]
    fn the_tail_is_measured_by_itself() {
        let solver = DormandPrince { rtol: 1e-8, atol: 1e-8, ..DormandPrince::default() };
        let end = |tail| {
            let start = vec![0.0; 1001];
            let rate = |asks: &[RateQuery<'_>]| {
                let one = |a: &RateQuery<'_>| [vec![0.0; 1000], vec![(30.0 * a.t).sin().powi(2)]].concat();
                asks.iter().map(one).collect()
            };
            solver.solve(vec![start], (0.0, 1.0), tail, rate).unwrap()[0].y[1000]
        };
        let truth = 0.5 - 60f64.sin() / 120.0;
        assert!((end(1) - truth).abs() < 1e-8 && (end(1) - truth).abs() < (end(0) - truth).abs());
    }
}
