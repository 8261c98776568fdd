//! The samplers of score matching and score SDEs, against the formulas of their papers written out in the score.

use undiffuse_math::prelude::*;

/// Some image `x` and some denoised image, and the score that goes with them.
const X: f64 = 0.7;
const DENOISED: f64 = -0.3;

fn score(at: NoiseLevel) -> f64 {
    (at.alpha * DENOISED - X) / (at.sigma * at.sigma)
}

/// What a row makes of the two and of the noise `z`.
fn made(row: &Row, z: f64) -> f64 {
    assert_eq!((row.x.len(), row.denoised.len()), (1, 1));
    row.x[0] * X + row.denoised[0] * DENOISED + row.noise * z
}

fn solver(text: &str) -> SolverKind {
    text.parse().unwrap()
}

fn near(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    assert!((ours - theirs).abs() <= tolerance * theirs.abs().max(1.0), "{what}: {ours}, not {theirs}");
}

/// [Song19, Algorithm 1] with its ten levels from 1 to 0.01, `T = 100` and `epsilon = 2e-5`; the last step is that of
/// [Song20, Algorithm 1].
#[test]
fn langevin_is_that_of_ncsn() {
    let sigmas: Vec<f64> = (0..10).map(|i| 0.01f64.powf(f64::from(i) / 9.0)).collect();
    let levels: Vec<_> = sigmas.iter().map(|&sigma| NoiseLevel { alpha: 1.0, sigma }).collect();
    let plan = solver("langevin:per_level=100,step=0.2").plan(&[&levels[..], &[NoiseLevel::CLEAN]].concat()).unwrap();
    assert_eq!(plan.nfe(), 1001);
    for (k, row) in plan.rows[..1000].iter().enumerate() {
        let at = levels[k / 100];
        assert_eq!(row.level, at);
        let a = 2e-5 * at.sigma.powi(2) / 0.01f64.powi(2);
        near(made(row, 1.3), X + a / 2.0 * score(at) + a.sqrt() * 1.3, 1e-12, "step");
    }
    let (row, at) = (&plan.rows[1000], levels[9]);
    near(made(row, 1.3), X + at.sigma.powi(2) * score(at), 1e-12, "the last step");
    // Without the clean end it stops after the last level's steps, as [Song19] does.
    assert_eq!(solver("langevin:per_level=100").plan(&levels).unwrap().nfe(), 1000);
}

/// `x' = (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z` along DDPM's chain, and along variance-exploding levels
/// `x' = x + (sigma² - sigma'²) score + sqrt(sigma² - sigma'²) z` [Song21, Appendix E].
#[test]
fn reverse_diffusion_is_that_of_both_chains() {
    let linear: ScheduleKind = "linear".parse().unwrap();
    for t in [999.0, 500.0, 30.0, 1.0] {
        let (from, to) = (linear.level(t), linear.level(t - 1.0));
        let beta = 1e-4 + t / 999.0 * (0.02 - 1e-4);
        let row = &solver("reverse-diffusion").plan(&[from, to]).unwrap().rows[0];
        let theirs = (2.0 - (1.0 - beta).sqrt()) * X + beta * score(from) + beta.sqrt() * 0.9;
        near(made(row, 0.9), theirs, 1e-9, &format!("timestep {t}"));
    }
    let ve = |sigma| NoiseLevel { alpha: 1.0, sigma };
    let row = &solver("reverse-diffusion").plan(&[ve(3.0), ve(2.0)]).unwrap().rows[0];
    near(made(row, 0.9), X + 5.0 * score(ve(3.0)) + 5f64.sqrt() * 0.9, 1e-12, "variance exploding");
}

/// `x' = x - (f x - g² score) dt + g sqrt(dt) z` for a short time `dt` of each SDE [Song21, Eqs. 6, 9, 11 and 12]:
/// the two agree to first order.
#[test]
fn euler_maruyama_is_that_of_each_sde() {
    let beta = |t: f64| 0.1 + t * 19.9;
    let b = |t: f64| t * 0.1 + t * t * 19.9 / 2.0;
    let ve = |t: f64| 50f64.powf(t) * 0.01f64.powf(1.0 - t);
    // The schedule, its time as a function of the SDE's, then f and g².
    type Of = fn(&dyn Fn(f64) -> f64, f64) -> f64;
    let same: Of = |_, t| t;
    let spread: Of = |ve, t| ve(t);
    for t in [0.1, 0.5, 0.9] {
        let ve_rate = 2.0 * (50f64 / 0.01).ln() * ve(t).powi(2);
        for (name, time, f, g2) in [
            ("vp", same, -0.5 * beta(t), beta(t)),
            ("sub-vp", same, -0.5 * beta(t), beta(t) * (1.0 - (-2.0 * b(t)).exp())),
            ("ve", spread, 0.0, ve_rate),
        ] {
            let schedule: ScheduleKind = name.parse().unwrap();
            let dt = 1e-6;
            let (from, to) = (schedule.level(time(&ve, t)), schedule.level(time(&ve, t - dt)));
            let row = &solver("euler-maruyama").plan(&[from, to]).unwrap().rows[0];
            let what = format!("{name} at {t}");
            near((made(row, 0.0) - X) / dt, -(f * X - g2 * score(from)), 1e-4, &what);
            near(row.noise / dt.sqrt(), g2.sqrt(), 1e-4, &what);
        }
    }
}

/// [Xu23, Algorithm 1], written out with the walks of Heun's method: down to the level nearest to `s_min`, up by
/// `sqrt(t_max² - t_min²) z` to the one nearest to `s_max`, down again.
#[test]
fn restart_is_heun_with_noise_between() {
    let levels: Vec<_> =
        [80.0, 9.0, 2.2, 0.31, 0.12, 0.055, 0.01, 0.0].map(|sigma| NoiseLevel { alpha: 1.0, sigma }).to_vec();
    let mut noise = [0.8, -1.1].into_iter();
    let mut walk = |plan: &Plan, x: f64| {
        let mut walk = Walk::new(plan, x);
        while let Some(row) = walk.row() {
            let denoised = (walk.x() / (1.0 + row.level.sigma)).tanh();
            let fresh = (row.noise > 0.0).then(|| noise.next().unwrap());
            walk.step(denoised, fresh, |terms| terms.iter().map(|(c, x)| c * **x).sum());
        }
        walk.into_x()
    };
    let heun = |levels: &[NoiseLevel]| solver("heun").plan(levels).unwrap();
    let mut x = walk(&heun(&levels[..=5]), 50.0);
    for z in [0.8, -1.1] {
        x += f64::sqrt(0.31 * 0.31 - 0.055 * 0.055) * z;
        x = walk(&heun(&levels[3..=5]), x);
    }
    let theirs = walk(&heun(&levels[5..]), x);
    let plan = solver("restart").plan(&levels).unwrap();
    assert_eq!(plan.nfe(), 13 + 2 * 4);
    near(walk(&plan, 50.0), theirs, 1e-12, "restart");
}
