//! Training a CLIP: every promise of a run holds for two readers that learn from each other.

use std::fs;

use undiffuse::clip::ClipModel;
use undiffuse::model::ModelError;

use super::words::captioned;
use super::*;

const TINY_CLIP: [&str; 10] = [
    "clip.patch=4",
    "clip.width=16",
    "clip.layers=1",
    "clip.heads=2",
    "clip.embedding=8",
    "condition.words.width=16",
    "condition.words.layers=1",
    "condition.words.heads=2",
    "condition.words.vocabulary=600",
    "train.previews=1",
];

fn layered(data: &Path, more: &[&str]) -> Result<Config, String> {
    let path = format!("data.path={:?}", data.display().to_string());
    let settings = [&TINY_CLIP[..], more, &[&path]].concat();
    let settings: Vec<String> = settings.into_iter().map(str::to_owned).collect();
    Config::layered("clip", None, &settings).map_err(|e| e.to_string())
}

fn clip(data: &Path, more: &[&str]) -> Config {
    layered(data, more).unwrap()
}

#[test]
fn threads_and_resuming_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 70);
    let config = || clip(&data, &["train.images=160", "train.batch=32", "data.flip=true"]);
    assert_eq!(config(), Config::from_toml(&config().to_toml()).unwrap());
    assert!(!config().to_toml().contains("[noise]"));
    let run = |name: &str, threads: usize| {
        let run = folder.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| finish(create(config(), &run)));
        state(&run)
    };
    let whole = run("whole", 1);
    assert!(run("two", 2) == whole && run("three", 3) == whole, "the number of threads changes the weights");
    let stopped = folder.path().join("stopped");
    let mut trainer = create(config(), &stopped);
    assert_eq!(trainer.by_ref().filter(|event| matches!(event, Ok(Event::Step(_)))).take(2).count(), 2);
    trainer.save().unwrap();
    drop(trainer);
    finish(resume(&stopped, &Resume::default()).unwrap());
    assert!(state(&stopped) == whole, "a resumed run ends elsewhere");
}

/// What is said of a picture is nearer to it than what is said of others; and what makes no pictures says so.
#[test]
fn words_find_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (captioned(folder.path(), 60), folder.path().join("run"));
    let settings = ["train.images=6400", "train.batch=16", "train.warmup_images=160", "data.held_out=0.3"];
    let mut trainer = create(clip(&data, &settings), &run);
    assert!(trainer.model().is_none());
    let Some(Ok(Event::Started(started))) = trainer.next() else { panic!("a run begins with what it begins with") };
    assert!(started.warnings.iter().any(|said| said.contains("1 of 60 pictures have no caption")), "{started:?}");
    let steps: Vec<Event> = trainer.map(Result::unwrap).collect();
    assert!(steps.iter().any(|event| matches!(event, Event::Validated { .. })));
    assert!(!steps.iter().any(|event| matches!(event, Event::Preview(_))));
    let model = ClipModel::read(&run, &Device::flex()).unwrap();
    let scale = model.logit_scale();
    assert!(scale > 1.0 && scale <= 100.0, "{scale}");
    assert_eq!(model.card.provenance.as_ref().unwrap().images_seen, 6400);
    let grey = |value: u8| Image::new(8, 8, 1, vec![value; 64]);
    let seen = model.pictures(&[grey(203), grey(24)]).unwrap();
    let told = model.texts(&["a bright square", "a dark square", "The square  is DARK"]).unwrap();
    let nearer = |text: usize, own: usize| told.cosine(text, seen.row(own)) - told.cosine(text, seen.row(1 - own));
    let all = [nearer(0, 0), nearer(1, 1), nearer(2, 1)];
    assert!(all.iter().all(|by| *by > 0.2), "{all:?}");
    let refused = Model::load(&run, &Device::flex()).err().unwrap();
    assert!(matches!(refused, ModelError::IsClip(_)), "{refused}");
}

#[test]
fn what_no_clip_learns_from_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 20);
    for (setting, words) in [
        ("train.accumulate=2", "a batch can't be computed in parts"),
        ("train.batch=1", "nothing to be told apart from"),
        ("train.label_dropout=0.1", "always reads its captions"),
        ("noise.schedule=flow", "[noise] says nothing of a CLIP"),
        ("network.width=8", "[network] says nothing of a CLIP"),
        ("clip.heads=3", "clip.heads = 3 must divide clip.width = 16"),
        ("clip.temperature=2", "clip.temperature = 2 must be between"),
        ("clip.widht=8", "unknown key `clip.widht` in the config; known there: "),
        ("condition=class", "a CLIP learns from text"),
    ] {
        let refused = layered(&data, &["train.images=16", setting]).unwrap_err();
        assert!(refused.contains(words), "{setting}: {refused}");
    }
    let plain = folder.path().join("plain");
    let same = folder.path().join("same");
    for (place, caption) in [(&plain, None), (&same, Some("a square"))] {
        fs::create_dir(place).unwrap();
        for k in 0..4u8 {
            let png = encode_png(&Image::new(8, 8, 1, vec![k; 64]), &[]).unwrap();
            fs::write(place.join(format!("{k}.png")), png).unwrap();
            caption.iter().for_each(|words| fs::write(place.join(format!("{k}.txt")), words).unwrap());
        }
    }
    for (data, more, words) in [
        (&plain, "train.batch=2", "the pictures have no captions and no classes"),
        (&same, "train.batch=2", "have one caption, \"a square\""),
        (&data, "train.batch=64", "pictures with captions are left to train on"),
        (&data, "clip.patch=3", "clip.patch = 3 must divide the side of the pictures, 8: 2 does"),
    ] {
        let run = folder.path().join("no");
        let config = clip(data, &["train.images=16", "train.batch=4", more]);
        let refused = Trainer::create(config, &run, &Device::flex(), &mut |_| {}).err().unwrap().to_string();
        assert!(refused.contains(words), "{more}: {refused}");
    }
}
