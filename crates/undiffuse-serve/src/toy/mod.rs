//! Diffusion in two dimensions, where it can be seen whole: points, the best denoiser and the score in closed form, and the
//! real plan of a real solver.

mod mixture;
mod shapes;

use serde::{Deserialize, Serialize};
use undiffuse::forward;
use undiffuse::math::noise;
use undiffuse::math::parameterization::X0;
use undiffuse::math::prelude::{NoiseLevel, Plan, Walk};
use undiffuse::math::recipe::Recipe;

pub use mixture::{Mixture, View};
pub use shapes::{SHAPES, Shape};

use crate::problem::Problem;
use crate::words;

/// A place in the plane.
pub type Point = [f64; 2];

/// The most points, and the most walkers.
const MANY: usize = 500;
/// The most steps of a solver.
const STEPS: usize = 500;
/// The most arrows on a side.
const SIDE: usize = 32;
/// How far a point may lie from the origin.
const FAR: f64 = 10.0;
/// The most places in the answer, about 20 bytes each.
const PLACES: usize = 250_000;
/// The most distances between a place and a point that are looked at.
const DISTANCES: usize = 50_000_000;
/// Half the side of the square that arrows are drawn in.
const REACH: f64 = 2.5;
/// The stream of noise that the points themselves dissolve into; the walk uses those below.
const FORWARD: u64 = 1 << 33;

/// What to diffuse and how to come back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ToyRequest)]
pub struct ToyRequest {
    /// A shape by name: `two-moons` unless there are `points`.
    pub shape: Option<String>,
    /// Points of one's own, instead of a shape: at most 500, at most 10 away from 0.
    #[schema(max_items = 500)]
    pub points: Option<Vec<[f64; 2]>>,
    /// How many points of the shape; 120 when not given.
    #[schema(minimum = 1, maximum = 500)]
    pub count: Option<usize>,
    /// The standard deviation of each point; 0.05 when not given.
    #[schema(minimum = 0.01, maximum = 1)]
    pub spread: Option<f64>,
    /// The schedule; `cosine` when not given.
    pub schedule: Option<String>,
    /// The solver; `dpmpp-2m` when not given.
    pub solver: Option<String>,
    /// The spacing; `log-snr` when not given.
    pub spacing: Option<String>,
    /// Steps of the solver; 25 when not given.
    #[schema(minimum = 1, maximum = 500)]
    pub steps: Option<usize>,
    /// Seed of the walkers.
    pub seed: Option<u64>,
    /// How many walkers; 200 when not given. Each is the same whatever their number.
    #[schema(minimum = 1, maximum = 500)]
    pub n: Option<usize>,
    /// Arrows of the score on a side; 16 when not given, 0 for none.
    #[schema(maximum = 32)]
    pub grid: Option<usize>,
}

/// Diffusion in two dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Toy {
    /// The shape; `points` for points of one's own.
    pub shape: String,
    /// The shapes there are.
    pub shapes: Vec<String>,
    /// The points.
    pub points: Vec<[f64; 2]>,
    /// The standard deviation of each point.
    pub spread: f64,
    /// The schedule in words.
    pub schedule: String,
    /// The solver in words.
    pub solver: String,
    /// The spacing in words.
    pub spacing: String,
    /// The levels of the walk, the noisiest first, one more than there are evaluations.
    pub levels: Vec<Level>,
    /// Where each walker is at each level.
    pub walkers: Vec<Vec<[f64; 2]>>,
    /// What the denoiser took each walker's origin for, at each level but the last.
    pub guesses: Vec<Vec<[f64; 2]>>,
    /// The score.
    pub field: Field,
    /// The noise that each point dissolves into: at a level it is at `alpha · point + sigma · eps`.
    pub eps: Vec<[f64; 2]>,
}

/// A noise level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ToyLevel)]
pub struct Level {
    /// Share of the point.
    pub alpha: f64,
    /// Share of the noise.
    pub sigma: f64,
    /// The factor that keeps everything in sight: what is at `x` is shown at `exposure · x`.
    pub exposure: f64,
}

/// Arrows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ToyField)]
pub struct Field {
    /// Where they stand, as shown: at each level the score is that of `x = xy / exposure`.
    pub xy: Vec<[f64; 2]>,
    /// The gradient of `ln p(x)` at each level and place.
    pub score: Vec<Vec<[f64; 2]>>,
}

/// Diffuses and walks back.
///
/// # Errors
/// 422: words that the registries do not know, sizes out of bounds.
pub fn toy(request: &ToyRequest) -> Result<Toy, Problem> {
    let within = |field: &str, value: Option<usize>, default: usize, least: usize, most: usize| {
        let value = value.unwrap_or(default);
        let problem = || Problem::invalid(field, format!("{value} is out of bounds: give {least} to {most}"));
        (least..=most).contains(&value).then_some(value).ok_or_else(problem)
    };
    let spacing = words::spacing(request.spacing.as_deref().unwrap_or("log-snr"))?;
    let steps = within("steps", request.steps.or(spacing.named()), 25, 1, STEPS)?;
    let n = within("n", request.n, 200, 1, MANY)?;
    let side = within("grid", request.grid, 16, 0, SIDE)?;
    let spread = request.spread.unwrap_or(0.05);
    if !(0.01..=1.0).contains(&spread) {
        return Err(Problem::invalid("spread", format!("{spread} is out of bounds: give 0.01 to 1")));
    }
    let (shape, points) = match &request.points {
        Some(points) => (String::from("points"), own(points)?),
        None => {
            let tag = request.shape.as_deref().unwrap_or("two-moons");
            let shape = shapes::find(tag).ok_or_else(|| {
                Problem::invalid("shape", format!("there is no shape `{tag}`: {}", tags().join(", ")))
            })?;
            (tag.to_owned(), shape.points(within("count", request.count, 120, 1, MANY)?))
        }
    };
    let recipe = Recipe::new(
        words::schedule(request.schedule.as_deref().unwrap_or("cosine"))?,
        X0::default(),
        spacing,
        words::solver(request.solver.as_deref().unwrap_or("dpmpp-2m"))?,
    );
    if recipe.solver.rises() {
        let problem = format!("`{}` walks up to the noise, the toy walks down: choose another", recipe.solver);
        return Err(Problem::invalid("solver", problem));
    }
    let nfe = recipe.nfe(steps).map_err(|e| Problem::invalid("steps", e.to_string()))?;
    let places = nfe.saturating_add(1).saturating_mul(2 * n + side * side);
    if places > PLACES || places * points.len() > DISTANCES {
        let problem = format!(
            "{nfe} evaluations of {} points by {n} walkers and {} arrows are too many: take fewer steps, walkers, arrows or points",
            points.len(),
            side * side
        );
        return Err(Problem::invalid("steps", problem));
    }
    let plan = recipe.plan(steps).map_err(|e| Problem::invalid("solver", e.to_string()))?;
    let mixture = Mixture { points, spread };
    let levels = levels(&plan);
    let (walkers, guesses) = walk(&mixture, &plan, request.seed.unwrap_or(0), n);
    let field = field(&mixture, &levels, side);
    let toy = Toy {
        shape,
        shapes: tags(),
        spread,
        schedule: recipe.schedule.to_string(),
        solver: recipe.solver.to_string(),
        spacing: recipe.spacing.to_string(),
        eps: normal(request.seed.unwrap_or(0), FORWARD, mixture.points.len()),
        points: mixture.points,
        levels,
        walkers,
        guesses,
        field,
    };
    toy.written().ok_or_else(|| {
        Problem::invalid("schedule", "the walk leaves what can be written as numbers: use milder settings")
    })
}

fn tags() -> Vec<String> {
    SHAPES.iter().map(|shape| shape.tag.into()).collect()
}

/// Points of a client.
fn own(points: &[Point]) -> Result<Vec<Point>, Problem> {
    if !(1..=MANY).contains(&points.len()) {
        return Err(Problem::invalid("points", format!("{} points: give 1 to {MANY}", points.len())));
    }
    match points.iter().flatten().find(|v| !(-FAR..=FAR).contains(*v)) {
        Some(far) => Err(Problem::invalid("points", format!("{far} is too far away: stay within {FAR} of 0"))),
        None => Ok(points.to_vec()),
    }
}

/// The level that each row starts from, and the last one.
fn levels(plan: &Plan) -> Vec<Level> {
    let last = plan.rows.last().map(|row| row.next);
    let all = plan.rows.iter().map(|row| row.level).chain(last);
    all.map(|level| Level { alpha: level.alpha, sigma: level.sigma, exposure: forward::exposure(level) }).collect()
}

/// Standard normal places: number `k` depends on `(seed, stream, k)` alone.
fn normal(seed: u64, stream: u64, n: usize) -> Vec<Point> {
    let mut values = vec![0f32; 2 * n];
    noise::normal(seed, stream, 0, &mut values);
    values.chunks(2).map(|xy| [xy[0].into(), xy[1].into()]).collect()
}

/// Where `n` walkers are at each level, and what they were taken for.
fn walk(mixture: &Mixture, plan: &Plan, seed: u64, n: usize) -> (Vec<Vec<Point>>, Vec<Vec<Point>>) {
    let start = normal(seed, 0, n).into_iter().map(|p| p.map(|v| v * plan.init_noise_sigma)).collect();
    let mut walk: Walk<Vec<Point>> = Walk::new(plan, start);
    let (mut walkers, mut guesses) = (vec![walk.x().clone()], Vec::new());
    while let Some(row) = walk.row() {
        let guess: Vec<Point> = walk.x().iter().map(|&x| mixture.view(x, row.level).denoised).collect();
        let fresh = (row.noise != 0.0).then(|| normal(seed, walk.done() as u64 + 1, n));
        walk.step(guess.clone(), fresh, |terms| {
            (0..n).map(|k| [0, 1].map(|i| terms.iter().map(|(c, x)| c * x[k][i]).sum())).collect()
        });
        guesses.push(guess);
        walkers.push(walk.x().clone());
    }
    (walkers, guesses)
}

/// The score on a square of `side²` places, row by row.
fn field(mixture: &Mixture, levels: &[Level], side: usize) -> Field {
    let at = |k: usize| REACH * ((2 * k + 1) as f64 / side as f64 - 1.0);
    let xy: Vec<Point> = (0..side * side).map(|k| [at(k % side), at(k / side)]).collect();
    let score = |level: &Level| {
        let &Level { alpha, sigma, exposure } = level;
        xy.iter().map(|p| mixture.view(p.map(|v| v / exposure), NoiseLevel { alpha, sigma }).score).collect()
    };
    Field { score: levels.iter().map(score).collect(), xy }
}

impl Toy {
    /// The same with as many digits as eyes need, if all of it are numbers.
    fn written(mut self) -> Option<Self> {
        let lists = [&mut self.points, &mut self.eps, &mut self.field.xy].into_iter();
        let nested = [&mut self.walkers, &mut self.guesses, &mut self.field.score].into_iter().flatten();
        let mut finite = self.levels.iter().all(|l| l.alpha.is_finite() && l.sigma.is_finite());
        for value in lists.chain(nested).flatten().flatten() {
            finite &= value.is_finite();
            *value = (*value * 1e4).round() / 1e4;
        }
        finite.then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse::math::prelude::{ScheduleKind, SolverKind, SpacingKind};

    fn request() -> ToyRequest {
        ToyRequest { steps: Some(40), n: Some(50), grid: Some(4), ..ToyRequest::default() }
    }

    /// The walk ends where the data are: nearly every walker within a few spreads of a point.
    #[test]
    fn walkers_arrive() {
        for shape in SHAPES {
            let toy = toy(&ToyRequest { shape: Some(shape.tag.into()), ..request() }).unwrap();
            assert_eq!((toy.walkers.len(), toy.guesses.len(), toy.levels.len()), (41, 40, 41));
            assert_eq!((toy.field.xy.len(), toy.field.score.len(), toy.field.score[0].len()), (16, 41, 16));
            let near = |w: &&Point| toy.points.iter().any(|p| (p[0] - w[0]).hypot(p[1] - w[1]) < 0.25);
            let arrived = toy.walkers[40].iter().filter(near).count();
            assert!(arrived >= 47, "{}: {arrived} of 50", shape.tag);
        }
    }

    /// One Gaussian: the probability-flow ODE scales every walker by the ratio of standard deviations, sqrt(alpha² s² +
    /// sigma²) at the start and s at the end [Karras22, Eq. 1 with Gaussian data].
    #[test]
    fn one_gaussian_is_walked_as_its_closed_form() {
        let request = ToyRequest {
            points: Some(vec![[0.0, 0.0]]),
            spread: Some(0.5),
            solver: Some("heun".into()),
            spacing: Some("karras".into()),
            schedule: Some("edm".into()),
            steps: Some(200),
            n: Some(5),
            grid: Some(0),
            ..ToyRequest::default()
        };
        let toy = toy(&request).unwrap();
        let first = toy.levels[0];
        let factor = 0.5 / ((first.alpha * 0.5).powi(2) + first.sigma.powi(2)).sqrt();
        for (start, end) in toy.walkers[0].iter().zip(toy.walkers.last().unwrap()) {
            for i in [0, 1] {
                assert!((start[i] * factor - end[i]).abs() < 2e-3, "{start:?} {end:?} {factor}");
            }
        }
    }

    #[test]
    fn a_walker_is_the_same_in_any_company_and_seeds_differ() {
        let of = |n, seed| {
            let solver = Some("euler-ancestral".into());
            toy(&ToyRequest { n: Some(n), seed: Some(seed), solver, ..request() }).unwrap().walkers
        };
        let (few, many) = (of(3, 1), of(50, 1));
        assert!(few.iter().zip(&many).all(|(few, many)| few[..] == many[..3]));
        assert_ne!(few, of(3, 2));
    }

    #[test]
    fn every_part_walks_and_hostile_sizes_are_refused() {
        let small = ToyRequest { steps: Some(6), n: Some(2), grid: Some(2), count: Some(9), ..ToyRequest::default() };
        for e in ScheduleKind::ALL {
            toy(&ToyRequest { schedule: Some(e.tag.into()), ..small.clone() })
                .unwrap_or_else(|p| panic!("{}: {p:?}", e.tag));
        }
        for e in SpacingKind::ALL {
            toy(&ToyRequest { spacing: Some(e.tag.into()), ..small.clone() })
                .unwrap_or_else(|p| panic!("{}: {p:?}", e.tag));
        }
        for e in SolverKind::ALL {
            let walked = toy(&ToyRequest { solver: Some(e.tag.into()), ..small.clone() });
            assert_eq!(walked.is_ok(), e.tag != "ddim-inverse", "{}", e.tag);
        }
        let fields = |request: ToyRequest| toy(&request).unwrap_err().field.unwrap();
        assert_eq!(fields(ToyRequest { steps: Some(0), ..small.clone() }), "steps");
        assert_eq!(fields(ToyRequest { n: Some(501), ..small.clone() }), "n");
        assert_eq!(fields(ToyRequest { grid: Some(33), ..small.clone() }), "grid");
        assert_eq!(fields(ToyRequest { spread: Some(f64::NAN), ..small.clone() }), "spread");
        assert_eq!(fields(ToyRequest { points: Some(vec![[0.0, 1e300]]), ..small.clone() }), "points");
        assert_eq!(fields(ToyRequest { points: Some(vec![]), ..small.clone() }), "points");
        assert_eq!(fields(ToyRequest { shape: Some("../etc".into()), ..small.clone() }), "shape");
        let (solver, steps) = (Some("langevin:per_level=100".into()), Some(500));
        assert_eq!(fields(ToyRequest { solver, steps, ..small.clone() }), "steps");
        assert_eq!(fields(ToyRequest { schedule: Some("edm:sigma_max=1e308".into()), ..small }), "schedule");
    }
}
