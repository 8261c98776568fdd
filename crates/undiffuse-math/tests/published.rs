//! The numbers that diffusers publishes in its own scheduler tests, reproduced from our plans: images
//! `arange(768) / 768` shaped (3, 8, 8, 4) and permuted to (4, 3, 8, 8), network `F(x, t) = x t / (t + 1)`
//! (`tests/schedulers/test_scheduler_*.py`, diffusers 0.42).

mod common;

use common::{
    recipes::{Images, sample},
    torch::Torch,
};
use serde_json::Value;
use undiffuse_math::{plan::Plan, prelude::*, recipe::Recipe};

const SIZE: usize = 768;

/// How the loop of a class's tests is written.
#[derive(Copy, Clone, PartialEq)]
enum Loop {
    /// The network is given the image, and the first one is as it is, whatever the class would have scaled them by.
    Plain,
    /// The network is given the scaled image, as in a pipeline.
    Scaled,
    /// The scaled image takes the place of the image before every evaluation.
    Replaced,
    /// Plain, but the network is told the first sigmas of a walk of all 2000 steps: the test lays out the sigmas before
    /// it sets their number.
    OldSigmas,
}

/// A class, the fields that its tests share, their loop and its number of steps.
const CLASSES: &[(&str, &str, Loop, usize)] = &[
    ("DDPM", r#""clip_sample": true"#, Loop::Plain, 1000),
    ("DDIM", r#""clip_sample": true"#, Loop::Plain, 10),
    ("EulerDiscrete", r#""num_train_timesteps": 1100"#, Loop::Replaced, 10),
    ("EulerAncestralDiscrete", r#""num_train_timesteps": 1100"#, Loop::Replaced, 10),
    ("HeunDiscrete", r#""num_train_timesteps": 1100, "beta_start": 0.0001, "beta_end": 0.02"#, Loop::Replaced, 10),
    ("DPMSolverMultistep", r#""lower_order_final": false, "final_sigmas_type": "sigma_min""#, Loop::Plain, 10),
    ("DDIMInverse", r#""clip_sample": true"#, Loop::Plain, 10),
    ("PNDM", "", Loop::Plain, 10),
    ("LMSDiscrete", r#""num_train_timesteps": 1100"#, Loop::Replaced, 10),
    ("KDPM2Discrete", r#""num_train_timesteps": 1100, "beta_start": 0.0001, "beta_end": 0.02"#, Loop::Replaced, 10),
    (
        "KDPM2AncestralDiscrete",
        r#""num_train_timesteps": 1100, "beta_start": 0.0001, "beta_end": 0.02"#,
        Loop::Replaced,
        10,
    ),
    ("DPMSolverSinglestep", r#""final_sigmas_type": "sigma_min""#, Loop::Plain, 10),
    ("UniPCMultistep", r#""final_sigmas_type": "sigma_min""#, Loop::Plain, 10),
    ("DEISMultistep", "", Loop::Plain, 10),
    ("EDMEuler", r#""num_train_timesteps": 256"#, Loop::Scaled, 10),
    ("EDMDPMSolverMultistep", r#""lower_order_final": false, "final_sigmas_type": "sigma_min""#, Loop::Plain, 10),
    ("ScoreSdeVe", "", Loop::OldSigmas, 3),
    ("LCM", "", Loop::Plain, 10),
    ("CMStochasticIterative", r#""num_train_timesteps": 201"#, Loop::Scaled, 1),
];

const V: &str = r#""prediction_type": "v_prediction""#;
const KARRAS: &str = r#""use_karras_sigmas": true"#;
const THRESHOLD: &str = r#""thresholding": true, "dynamic_thresholding_ratio": 0.87, "sample_max_value": 0.5"#;
const TO_ONE: &str = r#""set_alpha_to_one": true, "beta_start": 0.01"#;
const NOT_TO_ONE: &str = r#""set_alpha_to_one": false, "beta_start": 0.01"#;
/// Solvers of which diffusers begins late in the middle of the whole plan: what would have come before counts as 0.
const GOES_ON: [&str; 2] = ["lms", "dpmpp-singlestep"];
/// Where only a mean is published.
const NO: f64 = f64::NAN;

/// A class, fields of the test, and the sum and mean of absolute values that it publishes. A loop that begins later
/// than at the first step begins with the images noised by their own reverse.
#[rustfmt::skip]
const PUBLISHED: &[(&str, &[&str], usize, f64, f64)] = &[
    ("DDPM", &[], 0, 258.9606, 0.3372),
    ("DDPM", &[V], 0, 202.0296, 0.2631),
    ("DDPM", &[], 998, 387.9466, 0.5051),
    ("DDIM", &[], 0, 172.0067, 0.223967),
    ("DDIM", &[V], 0, 52.5302, 0.0684),
    ("DDIM", &[TO_ONE], 0, 149.8295, 0.1951),
    ("DDIM", &[NOT_TO_ONE], 0, 149.0784, 0.1941),
    ("DDIM", &[], 8, 354.5418, 0.4616),
    ("EulerDiscrete", &[], 0, 10.0807, 0.0131),
    ("EulerDiscrete", &[V], 0, 0.0002, 2.2676e-06),
    ("EulerDiscrete", &[KARRAS], 0, 124.52299499511719, 0.16213932633399963),
    ("EulerDiscrete", &[], 8, 57062.9297, 74.3007),
    ("EulerAncestralDiscrete", &[], 0, 152.3192, 0.1983),
    ("EulerAncestralDiscrete", &[V], 0, 108.4439, 0.1412),
    ("EulerAncestralDiscrete", &[], 8, 56163.0508, 73.1290),
    ("HeunDiscrete", &[], 0, 0.1233, 0.0002),
    ("HeunDiscrete", &[V], 0, 4.6934e-07, 6.1112e-10),
    ("HeunDiscrete", &[KARRAS], 0, 0.00015, 1.9869554535034695e-07),
    ("HeunDiscrete", &[], 8, 75074.8906, 97.7538),
    ("DPMSolverMultistep", &[], 0, NO, 0.3301),
    ("DPMSolverMultistep", &[], 5, 318.4111, 0.4146),
    ("DPMSolverMultistep", &[THRESHOLD], 0, NO, 1.1364),
    ("DPMSolverMultistep", &[V], 0, NO, 0.2251),
    ("DPMSolverMultistep", &[V, KARRAS], 0, NO, 0.2096),
    ("DPMSolverMultistep", &[V, r#""use_lu_lambdas": true"#], 0, NO, 0.1554),
    ("DDIMInverse", &[], 0, 671.6816, 0.8746),
    ("DDIMInverse", &[V], 0, 1394.2185, 1.8154),
    ("DDIMInverse", &[TO_ONE], 0, 539.9622, 0.7031),
    ("DDIMInverse", &[NOT_TO_ONE], 0, 542.6722, 0.7066),
    ("PNDM", &[], 0, 198.1318, 0.2580),
    ("PNDM", &[V], 0, 67.3986, 0.0878),
    ("PNDM", &[TO_ONE], 0, 230.0399, 0.2995),
    ("PNDM", &[NOT_TO_ONE], 0, 186.9482, 0.2434),
    ("LMSDiscrete", &[], 0, 1006.388, 1.31),
    ("LMSDiscrete", &[V], 0, 0.0017, 2.2676e-06),
    ("LMSDiscrete", &[KARRAS], 0, 3812.9927, 4.9648),
    ("LMSDiscrete", &[], 8, 27663.6895, 36.0204),
    ("KDPM2Discrete", &[], 0, 20.4125, 0.0266),
    ("KDPM2Discrete", &[V], 0, 4.6934e-07, 6.1112e-10),
    ("KDPM2Discrete", &[], 8, 70408.4062, 91.6776),
    ("KDPM2AncestralDiscrete", &[], 0, 13979.9433, 18.2030),
    ("KDPM2AncestralDiscrete", &[V], 0, 331.8133, 0.4320),
    ("KDPM2AncestralDiscrete", &[], 8, 93087.3437, 121.2074),
    ("DPMSolverSinglestep", &[], 0, NO, 0.2791),
    ("DPMSolverSinglestep", &[KARRAS], 0, NO, 0.2248),
    ("DPMSolverSinglestep", &[V], 0, NO, 0.1453),
    ("DPMSolverSinglestep", &[V, KARRAS], 0, NO, 0.0649),
    ("DPMSolverSinglestep", &[], 5, 269.2187, 0.3505),
    ("UniPCMultistep", &[], 0, NO, 0.2464),
    ("UniPCMultistep", &[KARRAS], 0, NO, 0.2925),
    ("UniPCMultistep", &[V], 0, NO, 0.1014),
    ("UniPCMultistep", &[V, KARRAS], 0, NO, 0.1966),
    ("UniPCMultistep", &[], 8, 315.5757, 0.4109),
    ("DEISMultistep", &[], 0, NO, 0.23916),
    ("DEISMultistep", &[V], 0, NO, 0.091),
    ("DEISMultistep", &[], 8, 315.3016, 0.41054),
    ("EDMEuler", &[], 0, 34.1855, 0.044),
    ("EDMDPMSolverMultistep", &[], 0, NO, 0.0001),
    ("EDMDPMSolverMultistep", &[], 5, 8.1661, 0.0106),
    ("EDMDPMSolverMultistep", &[THRESHOLD], 0, NO, 0.0080),
    ("EDMDPMSolverMultistep", &[V], 0, NO, 0.0092),
    ("ScoreSdeVe", &[], 0, 14372758528.0, 18714530.0),
    ("LCM", &[], 0, 197.7616, 0.2575),
    ("CMStochasticIterative", &[], 0, 192.7614, 0.2510),
];

#[test]
fn published_sums_are_reproduced() {
    let mut wrong = Vec::new();
    for &(class, fields, from, sum, mean) in PUBLISHED {
        let &(_, shared, kind, steps) = CLASSES.iter().find(|known| known.0 == class).unwrap();
        let name = format!(r#""_class_name": "{class}Scheduler""#);
        let fields: Vec<&str> =
            [&name, shared].into_iter().chain(fields.iter().copied()).filter(|f| !f.is_empty()).collect();
        let config: Value = serde_json::from_str(&format!("{{{}}}", fields.join(","))).unwrap();
        let recipe = Recipe::from_value(&config).unwrap();
        let made = run(&recipe, kind, steps, from);
        let ours: f64 = made.iter().map(|x| x.abs()).sum();
        // diffusers' own tolerances. Large sums are beyond single precision at the published hundredths, the worst
        // where `1 - alpha_bar` cancels: DDPM from step 998 is 387.9673 when diffusers itself runs in double precision.
        let near = |ours: f64, published: f64, tolerance: f64| {
            published.is_nan() || (ours - published).abs() < tolerance.max(6e-5 * published)
        };
        let line = format!("{config} from step {from}: {ours:.4} ({sum}), mean {:.6} ({mean})", ours / SIZE as f64);
        println!("{line}");
        if !(near(ours, sum, 1e-2) && near(ours / SIZE as f64, mean, 1e-3)) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Ramp number `k`, in the order of the permuted images.
fn images(from: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..4).flat_map(|image| (0..192).map(move |pixel| pixel * 4 + image)).map(from).collect()
}

fn toy(x: &[f64], told: f64) -> Vec<f64> {
    x.iter().map(|x| x * told / (told + 1.0)).collect()
}

/// The images at the end of a loop of `steps` steps that begins at step `from`.
fn run(recipe: &Recipe, kind: Loop, steps: usize, from: usize) -> Vec<f64> {
    let mut torch = Torch::seeded(0);
    let (plan, x) = if from == 0 {
        let plan = recipe.plan(steps).unwrap();
        let start = if [Loop::Plain, Loop::OldSigmas].contains(&kind) { 1.0 } else { plan.init_noise_sigma };
        let x = images(|k| start * k as f64 / SIZE as f64);
        (plan, x)
    } else {
        let mut grid = recipe.grid(steps).unwrap();
        let whole = grid.plan(&*recipe.solver).unwrap();
        let spread = if kind == Loop::Replaced { grid.points[0].level.sigma_edm() } else { 1.0 };
        grid.points.drain(..from);
        let at = grid.points[0].level;
        let noised = |k: usize| spread * at.alpha * k as f64 + at.sigma * (SIZE - 1 - k) as f64;
        let mut plan = grid.plan(&*recipe.solver).unwrap();
        if GOES_ON.contains(&recipe.solver.tag()) {
            // A single step, if what the row begins with came before.
            let first = if whole.rows[from].x[0] == 0.0 { 0..1 } else { 0..0 };
            plan.rows.splice(first.end.., whole.rows[from + first.end..].iter().cloned());
        }
        (plan, images(|k| noised(k) / SIZE as f64))
    };
    if kind == Loop::Replaced {
        return replaced(recipe, &plan, x, torch);
    }
    let network = |input: &[f64], told: f64, row: usize| match kind {
        Loop::Plain => {
            let scale = recipe.parameterization.scaling(plan.rows[row].level).input;
            toy(&input.iter().map(|x| x / scale).collect::<Vec<_>>(), told)
        }
        Loop::OldSigmas => toy(input, recipe.grid(2000).unwrap().points[row].time),
        _ => toy(input, told),
    };
    sample(recipe, &plan, Images { x, per_image: SIZE / 4 }, network, |_| torch.randn(SIZE)).pop().unwrap()
}

/// The loop that puts the scaled image in the place of the image. In this crate's `x` (theirs times alpha) that is a
/// multiplication by alpha; in the second row of a step, which goes on from the first image, only the evaluation sees it.
fn replaced(recipe: &Recipe, plan: &Plan, x: Vec<f64>, mut torch: Torch) -> Vec<f64> {
    let mut walk = Walk::new(plan, x);
    while let Some(row) = walk.row() {
        let scaling = recipe.parameterization.scaling(row.level);
        let told = undiffuse_math::draw::c_noise(&*recipe.schedule, &scaling, row.level, row.time);
        let input = walk.x().clone();
        let scaled: Vec<f64> = input.iter().map(|x| x * row.level.alpha).collect();
        let denoised = scaled.iter().zip(toy(&input, told)).map(|(x, f)| scaling.skip * x + scaling.out * f).collect();
        let second = row.level == row.next || row.time.is_none();
        let mut moved = vec![0.0; SIZE];
        if second {
            // The evaluation sees the scaled image, through the eps of which `D` is the other half.
            let weight = -row.denoised[0] / row.level.alpha;
            moved = scaled.iter().zip(&input).map(|(s, x)| weight * (s - x)).collect();
        } else {
            walk.replace_x(scaled);
        }
        let add = |terms: &[(f64, &Vec<f64>)]| {
            (0..SIZE).map(|k| moved[k] + terms.iter().map(|(c, x)| c * x[k]).sum::<f64>()).collect()
        };
        let noise = (row.noise != 0.0).then(|| torch.randn(SIZE));
        walk.step(denoised, noise, add);
    }
    walk.into_x()
}
