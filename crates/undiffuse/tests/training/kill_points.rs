//! Saving that ends at every change to the disk it makes: killed there, or failing there.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use undiffuse::Model;
use undiffuse::files::faults::{Fault, Then, during};
use undiffuse::files::is_temporary;
use undiffuse::nn::weights::Named;
use undiffuse::train::checkpoint::{self, Counters};
use undiffuse::train::{Event, Resume};

use super::{config, create, finish, pictures, resume, state};

/// A folder in memory where there is such a place: thousands of flushes wait for no disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Two models of one network that differ in every file.
fn models() -> [Model; 2] {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let model = |more: &[&str]| {
        let run = folder.path().join(more[0]);
        finish(create(config(&data, &[more, &["train.images=8", "train.previews=0"]].concat()), &run));
        Model::load(&run, &Device::flex()).unwrap()
    };
    let other = ["train.seed=2", "network.layers=2", "noise.schedule=linear", "noise.parameterization=eps"];
    [model(&["train.seed=1"]), model(&other)]
}

/// Everything in a folder, but for what the program calls temporary.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            _ if is_temporary(&name) => {}
            true => {
                all.extend(contents(&entry.path()).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)))
            }
            false => all.push((name, fs::read(entry.path()).unwrap())),
        }
    }
    all.sort();
    all
}

/// What of a model its folder holds.
fn described(model: &Model) -> String {
    format!("{:?} {} {:?}", model.card, model.network.config().to_json(), model.recipe)
}

fn every_point(models: &[Model; 2], whole: &[Vec<(String, Vec<u8>)>; 2], first: bool, fault: Fault) -> usize {
    let [old, new] = models;
    let root = scratch();
    let path = root.path().join("model");
    let users = root.path().join("model.old");
    fs::create_dir(&users).unwrap();
    fs::write(users.join("mine"), "mine").unwrap();
    if !first {
        old.save(&path).unwrap();
    }
    let (saved, count) = during(fault, || new.save(&path));
    match Model::load(&path, &Device::flex()) {
        Ok(model) => {
            let k = usize::from(described(&model) == described(new));
            assert!(k == 1 || (!first && saved.is_err()), "{fault:?}");
            // What its readers find is that model, bit for bit.
            assert_eq!(contents(&undiffuse::files::current(&path)), whole[k], "{fault:?}");
        }
        Err(e) => assert!(first && saved.is_err(), "{fault:?}: {e}"),
    }
    let left: Vec<_> = contents(root.path()).into_iter().map(|(name, _)| name).collect();
    assert!(left.iter().all(|name| name.starts_with("model/") || name == "model.old/mine"), "{fault:?}: {left:?}");
    new.save(&path).unwrap();
    assert_eq!(contents(&path), whole[1], "{fault:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "nothing is left behind: {fault:?}");
    count
}

#[test]
fn a_model_is_whole_wherever_saving_ends() {
    let models = models();
    let whole = [&models[0], &models[1]].map(|model| {
        let root = scratch();
        model.save(root.path().join("model")).unwrap();
        contents(&root.path().join("model"))
    });
    let differs = |file: &(String, Vec<u8>)| file.0 == "model_index.json" || !whole[0].contains(file);
    assert!(whole[1].iter().all(differs));
    let mut points = 0;
    for (exchange, first, then) in [
        (true, false, Then::Die),
        (true, false, Then::Fail),
        (false, false, Then::Die),
        (false, false, Then::Fail),
        (true, true, Then::Die),
        (true, true, Then::Fail),
    ] {
        let point = |at| every_point(&models, &whole, first, Fault { at, then, exchange });
        let count = point(usize::MAX);
        for at in 0..count {
            let _ = point(at);
        }
        points += count;
    }
    println!("{points} points");
    assert!(points >= 200, "{points} points");
}

/// Killed at any change to the disk of its last step, in which the last grid of samples is made, or failing there, a run that
/// goes on ends with the bits and with all that it leaves otherwise.
#[test]
fn a_run_that_ended_in_its_last_step_leaves_everything() {
    let root = scratch();
    let data = pictures(root.path(), 30);
    let settings = ["train.images=24", "train.checkpoint_seconds=0", "data.held_out=0.2"];
    let left = |run: &Path| {
        let [samples, model] = ["samples", "model"].map(|folder| contents(&run.join(folder)));
        (samples, model, state(run), fs::read(run.join("length.json")).unwrap())
    };
    let whole = root.path().join("whole");
    finish(create(config(&data, &settings), &whole));
    let expected = left(&whole);
    assert_eq!(expected.0.len(), 1);
    let point = |at: usize, then: Then| {
        let run = root.path().join("run");
        let mut trainer = create(config(&data, &settings), &run);
        let steps = trainer.by_ref().filter(|event| matches!(event, Ok(Event::Step(_))));
        assert_eq!(steps.take(2).count(), 2);
        let (ended, count) = during(Fault { at, then, exchange: true }, || trainer.try_for_each(|e| e.map(drop)));
        assert_eq!(ended.is_err(), at < count, "{at} {then:?}");
        drop(trainer);
        finish(resume(&run, &Resume::default()).unwrap());
        let found = left(&run);
        assert!(found.0 == expected.0, "the last grid: {at} {then:?}");
        assert!(found == expected, "{at} {then:?}");
        fs::remove_dir_all(run).unwrap();
        count
    };
    let count = point(usize::MAX, Then::Die);
    for at in 0..count {
        let _ = point(at, Then::Die);
    }
    assert!(count >= 20, "{count} points");
}

#[test]
fn a_run_has_a_whole_checkpoint_wherever_saving_ends() {
    let tensor = |k: u64| Named { name: "raw.a".into(), shape: vec![3000], values: vec![k as f32; 3000] };
    let save = |folder: &Path, nimg: u64| {
        let counters = Counters { step: nimg, nimg, ..Counters::default() };
        checkpoint::save(folder, &counters, &[tensor(nimg)])
    };
    let newest = |folder: &Path| {
        let path = checkpoint::all(folder).pop()?;
        let (counters, tensors) = checkpoint::load(&path).unwrap();
        assert!(tensors["raw.a"].values.iter().all(|v| *v == counters.nimg as f32));
        Some(counters.nimg)
    };
    let mut points = 0;
    for then in [Then::Die, Then::Fail] {
        for before in [0u64, 1, 3] {
            let point = |at| {
                let root = scratch();
                let folder = root.path().join("checkpoints");
                (0..before).for_each(|nimg| drop(save(&folder, nimg).unwrap()));
                let (saved, count) = during(Fault { at, then, exchange: true }, || save(&folder, before));
                let found = newest(&folder);
                assert!(found == Some(before) || (saved.is_err() && found == before.checked_sub(1)), "{at}: {found:?}");
                save(&folder, before + 1).unwrap();
                assert_eq!(newest(&folder), Some(before + 1));
                count
            };
            let count = point(usize::MAX);
            for at in 0..count {
                let _ = point(at);
            }
            points += count;
        }
    }
    assert!(points >= 30, "{points} points");
}
