//! Runs a recipe on numbers as its documentation says.

use undiffuse_math::{
    plan::Walk,
    prelude::*,
    recipe::{Clip, Recipe},
};

/// The images of a walk, flattened; `per_image` numbers each.
pub struct Images {
    pub x: Vec<f64>,
    pub per_image: usize,
}

/// Clips denoised images as a recipe says.
pub fn clip(clip: Clip, denoised: &mut [f64], per_image: usize) {
    match clip {
        Clip::None => {}
        Clip::Range(range) => denoised.iter_mut().for_each(|d| *d = d.clamp(-range, range)),
        Clip::Threshold { ratio, max } => {
            for image in denoised.chunks_mut(per_image) {
                let mut sizes: Vec<f64> = image.iter().map(|d| d.abs()).collect();
                sizes.sort_by(f64::total_cmp);
                let at = ratio * (sizes.len() - 1) as f64;
                let (low, high) = (sizes[at.floor() as usize], sizes[at.ceil() as usize]);
                let s = (low + at.fract() * (high - low)).max(1.0).min(max);
                image.iter_mut().for_each(|d| *d = d.clamp(-s, s) / s);
            }
        }
    }
}

/// The mean over images of their Euclidean norms.
fn norm(x: &[f64], per_image: usize) -> f64 {
    let norms = x.chunks(per_image).map(|image| image.iter().map(|v| v * v).sum::<f64>().sqrt());
    norms.sum::<f64>() / (x.len() / per_image) as f64
}

/// Runs a recipe's plan, with `network(input, told, row)`, whose answer goes on with as many numbers where the recipe
/// has a learned variance, and `noise(row)`, asked once for each noise that is used; gives back what each row made.
pub fn sample(
    recipe: &Recipe,
    plan: &Plan,
    start: Images,
    mut network: impl FnMut(&[f64], f64, usize) -> Vec<f64>,
    mut noise: impl FnMut(usize) -> Vec<f64>,
) -> Vec<Vec<f64>> {
    let size = start.x.len();
    let zip = |a: &[f64], b: &[f64], f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
    };
    let mut walk = Walk::new(plan, start.x);
    let mut made = Vec::new();
    while let Some(row) = walk.row() {
        let i = walk.done();
        let (alpha, sigma) = (row.level.alpha, row.level.sigma);
        let scaling = recipe.parameterization.scaling(row.level);
        let told = undiffuse_math::draw::c_noise(&*recipe.schedule, &scaling, row.level, row.time);
        let mut ask = |x: &[f64]| {
            let input: Vec<f64> = x.iter().map(|x| scaling.input * x).collect();
            let mut answer = network(&input, told, i);
            let variance = answer.split_off(size);
            (zip(x, &answer, &|x, f| scaling.skip * x + scaling.out * f), variance)
        };
        let corrector = recipe.corrector.map_or((0, 0.0), |c| (c.steps, c.snr));
        for _ in 0..corrector.0 {
            let score = zip(&ask(walk.x()).0, walk.x(), &|d, x| (alpha * d - x) / (sigma * sigma));
            let z = noise(i);
            let e = 2.0 * (corrector.1 * norm(&z, start.per_image) / norm(&score, start.per_image)).powi(2);
            let moved = zip(walk.x(), &score, &|x, g| x + e * g);
            walk.replace_x(zip(&moved, &z, &|x, z| x + (2.0 * e).sqrt() * z));
        }
        let (raw, variance) = ask(walk.x());
        let mut denoised = raw.clone();
        clip(recipe.clip, &mut denoised, start.per_image);
        if recipe.keep_eps {
            let moved = zip(&denoised, &raw, &|clipped, raw| alpha * (clipped - raw));
            walk.replace_x(zip(walk.x(), &moved, &|x, by| x + by));
        }
        let fresh = (row.noise != 0.0).then(|| match (recipe.learned_variance, recipe.solver.takes_variance()) {
            // The plan's standard deviation makes way for the network's.
            (Some(learned), true) => zip(&noise(i), &variance, &|z, answer| {
                z * learned.variance(row.level, row.next, answer).sqrt() / row.noise
            }),
            _ => noise(i),
        });
        walk.step(denoised, fresh, |terms| (0..size).map(|k| terms.iter().map(|(c, x)| c * x[k]).sum()).collect());
        made.push(walk.x().clone());
    }
    made
}
