//! Every member of every registry beside numbers from outside: k-diffusion's and diffusers' walks, papers' formulas worked
//! out elsewhere. Whatever JSON lies in `golden/` with the right keys is read, so a new member brings a file (and, kept
//! beside it, the script that wrote it); one without is named here.

use serde_json::Value;
use std::{collections::BTreeSet, fmt::Debug, fs, str::FromStr};
use undiffuse_math::{contrast::contrast, prelude::*, registry::Entry};

/// The cases under a key of all files, with what they are called in messages.
fn cases(key: &str) -> Vec<(Value, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|word| word == "json")) {
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for case in file[key].as_array().into_iter().flatten().cloned() {
            let part = ["part", "solver"].map(|key| case[key].as_str().unwrap_or_default()).concat();
            let what = format!("{part:.60} of {}, {}", path.display(), case["source"]);
            all.push((case, what));
        }
    }
    all
}

/// Refuses members that no case compares with anything.
fn all_compared<T>(what: &str, members: &[Entry<T>], written: &[String]) {
    let tags: BTreeSet<&str> = written.iter().map(|part| part.split(':').next().unwrap()).collect();
    let missing: Vec<&str> = members.iter().map(|entry| entry.tag).filter(|tag| !tags.contains(tag)).collect();
    assert!(
        missing.is_empty(),
        "{what} {missing:?} is compared with no number from outside: put some into a file in tests/golden (CONTRIBUTING.md)"
    );
}

/// Runs `compare` with every part under a key, its rows of numbers, and the whole case.
fn each_part<T: FromStr<Err: Debug>>(key: &str, members: &[Entry<T>], compare: impl Fn(&T, &[Vec<f64>], &Value, &str)) {
    let mut compared = Vec::new();
    for (case, what) in cases(key) {
        let part = case["part"].as_str().unwrap();
        let rows: Vec<_> = case["rows"].as_array().into_iter().flatten().map(numbers).collect();
        compare(&part.parse().unwrap(), &rows, &case, &what);
        compared.push(part.to_owned());
    }
    all_compared(key, members, &compared);
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn part<T: FromStr<Err: Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

/// All within `tolerance` of the largest.
fn near(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    let size = theirs.iter().fold(0f64, |size, v| size.max(v.abs()));
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= tolerance * size, "{what}: {ours:?}, not {theirs:?}");
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

/// Each to as many digits as its own size has.
fn each_near(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    ours.iter().zip(theirs).for_each(|(a, b)| near(&[*a], &[*b], tolerance, what));
}

#[test]
fn schedules() {
    each_part("schedules", ScheduleKind::ALL, |schedule, rows, _, what| {
        for row in rows {
            let level = schedule.level(row[0]);
            each_near(&[level.alpha, level.sigma], &row[1..], 1e-9, &format!("{what} at {}", row[0]));
        }
    });
}

#[test]
fn parameterizations() {
    each_part("parameterizations", ParameterizationKind::ALL, |parameterization, rows, _, what| {
        for row in rows {
            let s = parameterization.scaling(NoiseLevel { alpha: row[0], sigma: row[1] });
            near(&[s.skip, s.out, s.input, s.target_x0, s.target_eps], &row[2..], 1e-12, what);
        }
    });
}

#[test]
fn weightings() {
    each_part("weightings", WeightingKind::ALL, |weighting, rows, case, what| {
        let of: ParameterizationKind = part(&case["of"]);
        for row in rows {
            let level = NoiseLevel { alpha: row[0], sigma: row[1] };
            near(&[weighting.weight(level, &of.scaling(level), row[2])], &row[3..], 1e-9, what);
        }
    });
}

#[test]
fn timings() {
    each_part("timings", TimingKind::ALL, |timing, rows, case, what| {
        let schedule: ScheduleKind = part(&case["schedule"]);
        for row in rows {
            each_near(&[timing.time(&*schedule, row[0]), timing.correction(row[0])], &row[1..], 1e-9, what);
        }
    });
}

#[test]
fn spacings() {
    each_part("spacings", SpacingKind::ALL, |spacing, _, case, what| {
        let (schedule, theirs): (ScheduleKind, _) = (part(&case["schedule"]), numbers(&case["times"]));
        each_near(&spacing.times(&*schedule, theirs.len()), &theirs, 1e-6, what);
    });
}

/// A walk in `x / alpha` is the same at any scale of the levels; one whose levels are given has that one.
#[test]
fn solvers() {
    type Scale = fn(f64) -> NoiseLevel;
    let scales: [Scale; 3] =
        [|sigma| NoiseLevel { alpha: 1.0, sigma }, NoiseLevel::variance_preserving, NoiseLevel::rectified_flow];
    let mut compared: Vec<String> = Vec::new();
    for (case, what) in cases("walks").iter().filter(|(case, _)| case["calls"].is_array()) {
        if let Some(pairs) = case["levels"].as_array() {
            let levels: Vec<_> = pairs.iter().map(numbers).map(|l| NoiseLevel { alpha: l[0], sigma: l[1] }).collect();
            follow(case, &levels, |_| 1.0, what);
        } else {
            for scale in scales {
                let levels: Vec<_> = numbers(&case["sigmas"]).into_iter().map(scale).collect();
                follow(case, &levels, |level| level.alpha, what);
            }
        }
        compared.push(case["solver"].as_str().unwrap().to_owned());
    }
    // The test `walks` compares these.
    compared.extend(cases("diffusers").iter().map(|(case, _)| case["solver"].as_str().unwrap().to_owned()));
    compared.extend(cases("k_diffusion").iter().map(|(case, _)| case["solver"].as_str().unwrap().to_owned()));
    all_compared("solver", SolverKind::ALL, &compared);
}

/// The loss of each pair, and its slopes by all that it depends on.
#[test]
fn contrasts_equal_torch() {
    let cases = cases("contrast");
    assert!(cases.len() >= 3);
    for (case, what) in cases {
        let narrow = |key: &str| numbers(&case[key]).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let groups: Vec<usize> = numbers(&case["groups"]).into_iter().map(|group| group as usize).collect();
        let [width, log_scale, slope] = ["width", "log_scale", "by_log_scale"].map(|key| case[key].as_f64().unwrap());
        let of = contrast(&narrow("pictures"), &narrow("texts"), width as usize, &groups, log_scale);
        near(&of.losses, &numbers(&case["losses"]), 1e-12, &what);
        near(&of.pictures, &numbers(&case["by_pictures"]), 1e-10, &what);
        near(&of.texts, &numbers(&case["by_texts"]), 1e-10, &what);
        near(&[of.log_scale], &[slope], 1e-10, &what);
    }
}

/// What a solver asks the denoiser, call by call, and where it ends; `scale` is that of our `x` over theirs.
fn follow(case: &Value, levels: &[NoiseLevel], scale: fn(NoiseLevel) -> f64, what: &str) {
    let solver: SolverKind = part(&case["solver"]);
    let tolerance = case["tolerance"].as_f64().unwrap_or(1e-8);
    let plan = solver.plan(levels).unwrap();
    let calls = case["calls"].as_array().unwrap();
    assert_eq!(plan.nfe(), calls.len(), "{what}");
    let scaled = |x: &Value, at: NoiseLevel| numbers(x).iter().map(|x| scale(at) * x).collect::<Vec<_>>();
    let mut noise = case["noise"].as_array().unwrap().iter().map(numbers);
    // The first call sees what Heun's churn has already made of the start.
    let mut walk = Walk::new(&plan, scaled(&calls[0]["x"], plan.rows[0].level));
    while let Some(row) = walk.row() {
        let call = &calls[walk.done()];
        let what = format!("{what}, row {}", walk.done());
        near(walk.x(), &scaled(&call["x"], row.level), tolerance, &what);
        near(&[row.level.sigma_edm()], &[call["sigma"].as_f64().unwrap()], 1e-8, &what);
        let fresh = (row.noise != 0.0).then(|| noise.next().expect("fewer noises than rows that ask"));
        walk.step(numbers(&call["denoised"]), fresh, |terms| {
            (0..3).map(|k| terms.iter().map(|(c, x)| c * x[k]).sum()).collect()
        });
    }
    near(walk.x(), &scaled(&case["end"], levels[levels.len() - 1]), tolerance, what);
    assert_eq!(noise.next(), None, "{what}: noise is left over");
}
