//! Schedules, parameterizations, weightings and timings against closed forms and tables made by diffusers and scipy.

mod common;

use common::{all, schedules};
use serde_json::Value;
use undiffuse_math::{prelude::*, recipe::Recipe, timing::normal_quantile};

fn parameterizations() -> Vec<ParameterizationKind> {
    all(ParameterizationKind::ALL, &[])
}

fn weightings() -> Vec<WeightingKind> {
    all(WeightingKind::ALL, &[])
}

fn timings() -> Vec<TimingKind> {
    all(TimingKind::ALL, &[])
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/tables.json")).unwrap()
}

/// diffusers computes its tables in single precision: 1 - alpha_bar is good to 6e-8.
#[test]
fn tables_are_those_of_diffusers() {
    for table in golden()["tables"].as_array().unwrap() {
        let mut config = table["options"].clone();
        config["_class_name"] = "DDPMScheduler".into();
        let schedule = Recipe::from_value(&config).unwrap().schedule;
        let timesteps = table["timesteps"].as_array().unwrap();
        for (t, alpha_bar) in timesteps.iter().zip(table["alpha_bar"].as_array().unwrap()) {
            let (t, theirs) = (t.as_f64().unwrap(), alpha_bar.as_f64().unwrap());
            let ours = schedule.level(t).alpha.powi(2);
            assert!((ours - theirs).abs() <= 1e-6 * theirs + 1e-7 * theirs.sqrt(), "{config} at {t}: {ours} {theirs}");
        }
    }
}

#[test]
fn time_inverts_level() {
    for schedule in schedules() {
        let (low, high) = schedule.range();
        let times: Vec<f64> = match schedule.discrete_steps() {
            Some(steps) => (0..steps).map(|t| t as f64).collect(),
            None => (0..=100).map(|i| low + (high - low) * f64::from(i) / 100.0).collect(),
        };
        let mut before = -1.0;
        for t in times {
            let level = schedule.level(t);
            let back = schedule.time(level.log_snr());
            assert!((back - t).abs() < 1e-9 * high.max(1.0), "{schedule}: {t} became {back}");
            assert!(level.alpha >= 0.0 && level.sigma >= 0.0 && level.alpha + level.sigma > 0.0, "{schedule} at {t}");
            assert!(level.sigma_edm() > before, "{schedule} at {t}: noise does not grow");
            before = level.sigma_edm();
            let again = schedule.level_at(level.log_snr());
            assert!(
                (again.alpha - level.alpha).abs() < 1e-9
                    && (again.sigma - level.sigma).abs() < 1e-9 * level.sigma.max(1.0)
            );
        }
        for beyond in [f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!schedule.time(beyond).is_nan(), "{schedule}");
        }
    }
}

/// Interpolated as diffusers' Euler does it: sigma / alpha along a line, back along its logarithm.
#[test]
fn tables_interpolate() {
    let schedule: ScheduleKind = "scaled-linear".parse().unwrap();
    let sigma = |t| schedule.level(t).sigma_edm();
    assert!((sigma(700.25) - (0.75 * sigma(700.0) + 0.25 * sigma(701.0))).abs() < 1e-12);
    let between = (0.3 * sigma(700.0).ln() + 0.7 * sigma(701.0).ln()).exp();
    assert!((schedule.time(-2.0 * between.ln()) - 700.7).abs() < 1e-9);
    let level = schedule.level_at(-2.0 * between.ln());
    assert!((level.sigma_edm() - between).abs() < 1e-12 && (level.scale() - 1.0).abs() < 1e-12);
    assert_eq!(schedule.level(-5.0), schedule.level(0.0));
    assert_eq!(schedule.level(5000.0), schedule.level(999.0));
}

/// [Song21, Eqs. 29 and 33] and [Hoogeboom23, section 3.1] at times worked out by hand.
#[test]
fn continuous_schedules_have_their_formulas() {
    let level = |word: &str, t: f64| word.parse::<ScheduleKind>().unwrap().level(t);
    assert!((level("vp", 1.0).alpha.ln() + 0.25 * 19.9 + 0.05).abs() < 1e-12);
    assert!((level("vp", 0.5).alpha.ln() + 0.0625 * 19.9 + 0.025).abs() < 1e-12);
    assert!((level("vp", 0.5).scale() - 1.0).abs() < 1e-12);
    for t in [0.01, 0.3, 1.0] {
        let (vp, sub_vp) = (level("vp", t), level("sub-vp", t));
        assert!((sub_vp.alpha - vp.alpha).abs() < 1e-15 && (sub_vp.sigma - vp.sigma.powi(2)).abs() < 1e-15);
    }
    assert!((level("sub-vp", 0.5).sigma - (1.0 - (-2.5375f64).exp())).abs() < 1e-12);
    assert!((level("cosine-vp", 0.0).log_snr() - 15.0).abs() < 1e-9);
    assert!((level("cosine-vp", 1.0).log_snr() + 15.0).abs() < 1e-9);
    assert!(level("cosine-vp", 0.5).log_snr().abs() < 1e-9);
    assert!((level("cosine-vp:shift=-2", 0.5).log_snr() + 2.0).abs() < 1e-9);
    assert_eq!(level("flow", 0.25), NoiseLevel { alpha: 0.75, sigma: 0.25 });
    assert!((level("flow:shift=3", 0.5).sigma - 0.75).abs() < 1e-12);
    assert_eq!(level("edm", 7.0), NoiseLevel { alpha: 1.0, sigma: 7.0 });
    assert_eq!(level("ve", 7.0), NoiseLevel { alpha: 1.0, sigma: 7.0 });
}

/// A network that answers its target makes a perfect denoiser, whatever the picture and the noise.
#[test]
fn the_target_denoises() {
    for schedule in schedules() {
        let (low, high) = schedule.range();
        for parameterization in parameterizations() {
            for i in 0..=50 {
                let level = schedule.level(low + (high - low) * f64::from(i) / 50.0);
                let s = parameterization.scaling(level);
                let what = format!("{parameterization} on {schedule} at {level:?}: {s:?}");
                let numbers = [s.skip, s.out, s.input, s.target_x0, s.target_eps];
                assert!(numbers.iter().all(|n| n.is_finite()), "{what}");
                // Where alpha or sigma vanishes eps and score say nothing; that is stated, and not tested.
                if level.alpha > 1e-5 && level.sigma > 1e-5 {
                    let (signal, noise) =
                        (s.skip * level.alpha + s.out * s.target_x0, s.skip * level.sigma + s.out * s.target_eps);
                    let size = (s.skip * level.sigma).abs().max(1.0);
                    assert!((signal - 1.0).abs() < 1e-12 * size && noise.abs() < 1e-12 * size, "{what}");
                }
            }
        }
    }
}

/// [Karras22, Table 1] at sigma = sigma_data, and [Salimans22, Appendix D] at a Pythagorean level.
#[test]
fn scalings_have_their_published_values() {
    let scaling =
        |word: &str, alpha, sigma| word.parse::<ParameterizationKind>().unwrap().scaling(NoiseLevel { alpha, sigma });
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let edm = scaling("edm", 1.0, 0.5);
    [(edm.skip, 0.5), (edm.out, 0.125f64.sqrt()), (edm.input, 2f64.sqrt())].iter().for_each(|(a, b)| near(*a, *b));
    let NoiseInput::Value(c_noise) = edm.c_noise else { panic!("{:?}", edm.c_noise) };
    near(c_noise, 0.5f64.ln() / 4.0);
    let v = scaling("v", 0.6, 0.8);
    [(v.skip, 0.6), (v.out, -0.8), (v.input, 1.0), (v.target_x0, -0.8), (v.target_eps, 0.6)]
        .iter()
        .for_each(|(a, b)| near(*a, *b));
    let eps = scaling("eps", 1.0, 3.0);
    [(eps.skip, 1.0), (eps.out, -3.0), (eps.input, 0.1f64.sqrt())].iter().for_each(|(a, b)| near(*a, *b));
    let flow = scaling("flow", 0.25, 0.75);
    [(flow.skip, 1.0), (flow.out, -0.75), (flow.input, 1.0)].iter().for_each(|(a, b)| near(*a, *b));
    let score = scaling("score", 1.0, 3.0);
    [(score.skip, 1.0), (score.out, 9.0), (score.target_eps, -1.0 / 3.0)].iter().for_each(|(a, b)| near(*a, *b));
}

/// The weighting named after a parameterization is plain error of that network's answer.
#[test]
fn weightings_are_losses_of_networks() {
    let weight = |w: &str, p: &str, at| {
        let scaling = p.parse::<ParameterizationKind>().unwrap().scaling(at);
        w.parse::<WeightingKind>().unwrap().weight(at, &scaling, 1.0) * scaling.out.powi(2)
    };
    for t in [0.01, 0.3, 0.9] {
        let vp = "vp".parse::<ScheduleKind>().unwrap().level(t);
        let edm = "edm".parse::<ScheduleKind>().unwrap().level(10.0 * t);
        for (weighting, parameterization, at) in [
            ("simple", "eps", vp),
            ("simple", "eps", edm),
            ("uniform", "x0", vp),
            ("snr-plus-one", "v", vp),
            ("edm", "edm", vp),
            ("edm", "edm", edm),
        ] {
            assert!((weight(weighting, parameterization, at) - 1.0).abs() < 1e-9, "{weighting} of {parameterization}");
        }
        for parameterization in parameterizations() {
            assert!((weight("target", &parameterization.to_string(), vp) - 1.0).abs() < 1e-9);
        }
        let snr = vp.snr();
        assert_eq!(weight("min-snr", "x0", vp), snr.min(5.0));
        assert_eq!(weight("truncated-snr", "x0", vp), snr.max(1.0));
        assert!((weight("sigmoid:bias=0.5", "x0", vp) - 0.5 * snr / (1.0 + snr * (-0.5f64).exp())).abs() < 1e-9 * snr);
    }
}

/// For normal data of standard deviation `s` the error of the best denoiser is `s² / (1 + s² SNR)`, so the diffusion
/// term of the bound, `½ ∫ SNR · error d log_snr`, is `½ ln((1 + s² SNR_max) / (1 + s² SNR_min))`: whatever the
/// schedule and the timing.
#[test]
fn the_likelihood_weighting_integrates_to_the_bound() {
    let s = 0.6f64;
    let likelihood: WeightingKind = "likelihood".parse().unwrap();
    let x0: ParameterizationKind = "x0".parse().unwrap();
    for schedule in schedules() {
        for timing in ["uniform", "log-snr-uniform", "lognormal:mean=0,std=2", "logit-normal:std=2"] {
            let timing: TimingKind = timing.parse().unwrap();
            // Rounded timesteps have no density in log-SNR but that of the uniform timing.
            if schedule.discrete_steps().is_some() && timing.tag() == "logit-normal"
                || schedule.discrete_steps() == Some(50)
            {
                continue;
            }
            let n = 20_000;
            let (mut bound, mut seen) = (0.0, (f64::INFINITY, 0.0f64));
            for i in 0..n {
                let draw = Draw::new(
                    &*schedule,
                    &*x0,
                    &*likelihood,
                    &*timing,
                    0.01 + 0.98 * (f64::from(i) + 0.5) / f64::from(n),
                );
                let snr = draw.level.snr();
                bound += draw.weight * s * s / (1.0 + s * s * snr) * 0.98 / f64::from(n);
                seen = (seen.0.min(snr), seen.1.max(snr));
            }
            let exact = 0.5 * ((1.0 + s * s * seen.1) / (1.0 + s * s * seen.0)).ln();
            assert!((bound / exact - 1.0).abs() < 0.02, "{timing} on {schedule}: {bound}, not {exact}");
        }
    }
}

#[test]
fn draws_are_whole() {
    for schedule in schedules() {
        for timing in timings() {
            for parameterization in parameterizations() {
                for weighting in weightings() {
                    let mut before = f64::NEG_INFINITY;
                    for u in [1e-9, 0.01, 0.3, 0.5, 0.9, 1.0 - 1e-9] {
                        let draw = Draw::new(&*schedule, &*parameterization, &*weighting, &*timing, u);
                        let what = format!("{schedule} {timing} {parameterization} {weighting} {u}: {draw:?}");
                        let (low, high) = schedule.range();
                        assert!((low..=high).contains(&draw.time) && draw.time >= before, "{what}");
                        assert!(draw.c_noise.is_finite() && draw.weight.is_finite() && draw.weight >= 0.0, "{what}");
                        assert!(draw.target_weight().is_finite(), "{what}");
                        before = draw.time;
                    }
                }
            }
        }
    }
}

#[test]
fn timings_have_their_quantiles() {
    let time = |timing: &str, schedule: &str, u: f64| {
        timing.parse::<TimingKind>().unwrap().time(&*schedule.parse::<ScheduleKind>().unwrap(), u)
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} {b}");
    near(time("lognormal", "edm", 0.5), (-1.2f64).exp());
    near(time("lognormal", "edm", 0.975), (-1.2 + 1.2 * 1.959963984540054f64).exp());
    near(time("logit-normal", "flow:t_min=0", 0.5), 0.5);
    near(time("logit-normal:mean=1", "flow:t_min=0", 0.5), 1.0 / (1.0 + (-1.0f64).exp()));
    near(time("uniform", "vp:t_min=0", 0.3), 0.3);
    assert_eq!((time("uniform", "linear", 1e-9), time("uniform", "linear", 1.0 - 1e-9)), (0.0, 999.0));
    assert_eq!(time("uniform", "linear", 0.5), 500.0);
    near(time("log-snr-uniform", "edm", 0.5), (0.002f64 * 80.0).sqrt());
}

#[test]
fn normal_quantiles_are_those_of_scipy() {
    for pair in golden()["normal_quantile"].as_array().unwrap() {
        let (u, z) = (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
        assert!((normal_quantile(u) - z).abs() <= 1e-13 * z.abs().max(1e-3), "{u}: {} {z}", normal_quantile(u));
    }
    assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
    assert_eq!(normal_quantile(1.0), f64::INFINITY);
    assert!(normal_quantile(1.5).is_nan());
}
