//! Runs with a budget of time: what the clock decided is written down, and all else follows from that.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use undiffuse::files::faults::{Fault, Then, during};
use undiffuse::run::RunFolder;
use undiffuse::train::length::{Decision, Length};
use undiffuse::train::{Event, LrSchedule, Resume, Trainer};

use super::{config, create, finish, pictures, resume, state};

fn decisions(run: &Path) -> Vec<Decision> {
    let length = RunFolder::new(run).length().unwrap();
    length.segments.into_iter().flat_map(|segment| segment.decisions).collect()
}

/// Sees so many decisions and takes so many steps after them, and ends as a killed program does, with nothing saved.
fn killed(mut trainer: Trainer, decisions: usize, steps: usize) {
    let mut events = trainer.by_ref().map(Result::unwrap);
    let decided = events.by_ref().filter(|event| matches!(event, Event::Planned { .. })).take(decisions).count();
    let seen = events.filter(|event| matches!(event, Event::Step(_))).take(steps).count();
    assert_eq!((decided, seen), (decisions, steps));
}

fn replay(of: &Path, run: &Path) -> Trainer {
    Trainer::replay(of, None, run, &Device::flex(), &mut |_| {}).unwrap()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("model/unet/diffusion_pytorch_model.safetensors")).unwrap()
}

#[test]
fn a_run_that_was_killed_ends_with_the_bits_of_its_replay() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 60);
    let (run, same) = (folder.path().join("run"), folder.path().join("same"));
    let settings = ["train.budget=4s", "train.previews=3", "network.dropout=0.1", "noise.timing=importance"];
    // Before anything is decided, and then in the middle of what is.
    killed(create(config(&data, &settings), &run), 0, 3);
    assert_eq!(decisions(&run), []);
    let go_on = || resume(&run, &Resume::default()).unwrap();
    for (further, steps) in [(2, 3), (1, 1), (2, 0)] {
        let before = decisions(&run);
        killed(go_on(), further, steps);
        assert!(decisions(&run).starts_with(&before), "what was decided stays");
    }
    finish(go_on());
    let decided = decisions(&run);
    assert!(decided.len() >= 5, "{decided:?}");
    let nimg: Vec<u64> = decided.iter().map(|decision| decision.at).collect();
    assert!(nimg.is_sorted(), "{nimg:?}");

    // With the clock off, and killed elsewhere.
    killed(replay(&run, &same), 0, 9);
    finish(resume(&same, &Resume::default()).unwrap());
    assert_eq!(decisions(&same), decided);
    assert!(state(&run) == state(&same) && weights(&run) == weights(&same), "a replay differs");
    // A run that was never touched by a clock is another one.
    let images = format!("train.images={}", decided[decided.len() - 1].until);
    let other = folder.path().join("other");
    finish(create(config(&data, &[&settings[1..], &[&images]].concat()), &other));
    assert!(weights(&run) != weights(&other));
}

#[test]
fn a_budget_ends_annealed_with_all_that_a_run_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 60);
    let run = folder.path().join("run");
    let mut lr = Vec::new();
    let mut planned = 0;
    let mut finished = None;
    for event in create(config(&data, &["train.budget=3s", "train.warmup_images=80", "data.held_out=0.2"]), &run) {
        match event.unwrap() {
            Event::Step(step) => lr.push(step.lr),
            Event::Planned { .. } => planned += 1,
            Event::Finished { nimg, .. } => finished = Some(nimg),
            _ => {}
        }
    }
    let peak = lr.iter().copied().fold(0.0, f64::max);
    assert!(lr[9..].windows(2).all(|w| w[1] <= w[0]) && lr[lr.len() - 1] < 0.05 * peak, "{:?}", &lr[lr.len() - 3..]);
    let folder = RunFolder::new(&run);
    let length = folder.length().unwrap();
    assert_eq!((length.until(), planned), (finished, decisions(&run).len()));
    let (budget, used) = folder.budget(&length).unwrap();
    // How well it keeps its word on a busy machine is measured by `xtask/checks/budget.py`: here it only ends by the clock.
    assert!(budget == 3.0 && (0.5..9.0).contains(&used), "{used}");
    assert!(run.join("model/unet/config.json").is_file());
    assert_eq!(folder.samples().keys().copied().collect::<Vec<_>>(), [finished.unwrap()]);
}

/// The clock goes on deciding in the life that follows, and that has a last grid, too.
#[test]
fn a_budget_that_is_killed_in_its_last_grid_ends_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 60);
    for previews in [1, 4] {
        let run = folder.path().join(format!("run-{previews}"));
        let previews = format!("train.previews={previews}");
        let mut trainer = Some(create(config(&data, &["train.budget=2s", &previews]), &run));
        for _ in 0..2 {
            let mut life = trainer.take().unwrap_or_else(|| resume(&run, &Resume::default()).unwrap());
            let mut nimg = 0;
            let until = || RunFolder::new(&run).length().unwrap().until().unwrap_or(u64::MAX);
            while nimg + 8 < until() {
                match life.next().unwrap().unwrap() {
                    Event::Started(started) => nimg = started.nimg,
                    Event::Step(step) => nimg = step.nimg,
                    _ => {}
                }
            }
            let fault = Fault { at: 0, then: Then::Die, exchange: true };
            assert!(during(fault, || life.try_for_each(|event| event.map(drop))).0.is_err());
        }
        finish(resume(&run, &Resume::default()).unwrap());
        let folder = RunFolder::new(&run);
        let until = folder.length().unwrap().until();
        assert_eq!(folder.samples().keys().next_back().copied(), until, "{previews}: {:?}", decisions(&run));
    }
}

#[test]
fn a_budget_is_made_longer_before_and_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let (run, same) = (folder.path().join("run"), folder.path().join("same"));
    killed(create(config(&data, &["train.budget=1s"]), &run), 0, 2);
    let more = |how: Resume| resume(&run, &how).unwrap();
    let length = || RunFolder::new(&run).length().unwrap();
    drop(more(Resume { budget: Some("1s".into()), ..Resume::default() }));
    assert_eq!((length().segments.len(), length().segments[0].budget), (1, Some(2.0)));
    finish(more(Resume::default()));
    finish(more(Resume { budget: Some("1s".into()), ..Resume::default() }));
    let first = length();
    assert_eq!((first.segments.len(), first.segments[1].from), (2, first.segments[0].until));
    let until = first.until().unwrap() + 80;
    finish(more(Resume { images: Some(until), ..Resume::default() }));
    assert_eq!((length().segments.len(), length().until()), (3, Some(until)));
    finish(replay(&run, &same));
    assert!(state(&run) == state(&same) && weights(&run) == weights(&same));
    // Begun anew, it has its time again.
    killed(more(Resume { restart: true, ..Resume::default() }), 0, 2);
    let length = length();
    assert_eq!((length.segments.len(), length.segments[0].budget), (1, Some(1.0)));
    assert!(RunFolder::new(&run).budget(&length).unwrap().1 < 1.0);
}

/// A run whose length an older program fixed from its first seconds goes on to that end.
#[test]
fn lengths_of_older_programs_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    killed(create(config(&data, &["train.budget=1h"]), &run), 0, 1);
    let old = r#"{ "segments": [ { "from": 0, "until": 80 } ], "images_per_second": 500.0, "previews": 1 }"#;
    fs::write(run.join("length.json"), old).unwrap();
    finish(resume(&run, &Resume::default()).unwrap());
    finish(create(config(&data, &["train.images=80"]), &whole));
    assert_eq!(weights(&run), weights(&whole));
    let length: Length = RunFolder::new(&run).length().unwrap();
    assert_eq!((length.until(), length.segments[0].budget), (Some(80), None));
    assert_eq!(length.lr_factor(40, 8, 0, LrSchedule::Linear), 0.5);
}
