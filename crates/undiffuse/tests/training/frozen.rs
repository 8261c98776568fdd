//! Training on captions that a text encoder reads which stays as it is.

use std::fs;

use burn::tensor::Tensor;
use undiffuse::condition::{Ask, Cond};
use undiffuse::sample::Noise;

use super::words::captioned;
use super::*;

/// Copies a folder and those in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let to = to.join(entry.file_name().unwrap());
        match entry.is_dir() {
            true => copy(&entry, &to),
            false => assert!(fs::copy(&entry, to).is_ok()),
        }
    }
}

/// One of the encoders of `xtask/golden/frozen.py`.
fn encoder(name: &str, to: &Path) -> PathBuf {
    let to = to.join(name);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frozen").join(name), &to);
    to
}

fn told_by(encoder: &Path, more: &[&str]) -> Vec<String> {
    let encoder = format!("condition.words.encoder={}", encoder.display());
    more.iter().map(|setting| (*setting).to_owned()).chain([encoder]).collect()
}

fn config_of(data: &Path, encoder: &Path, more: &[&str]) -> Config {
    let settings = told_by(encoder, more);
    config(data, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

fn problem(data: &Path, encoder: &Path, more: &[&str]) -> String {
    let run = data.join("../refused");
    let settings = told_by(encoder, more);
    let settings: Vec<String> =
        settings.into_iter().chain([format!("data.path={:?}", data.display().to_string())]).collect();
    let config = match Config::layered("quick", None, &settings) {
        Ok(config) => config,
        Err(e) => return e.to_string(),
    };
    Trainer::create(config, &run, &Device::flex(), &mut |_| {}).err().unwrap().to_string()
}

#[test]
fn parts_threads_and_resuming_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 70);
    for name in ["bert", "clip"] {
        let encoder = encoder(name, folder.path());
        let runs = folder.path().join(format!("{name}-runs"));
        let whole = same_bits(&runs, &[8], |more| config_of(&data, &encoder, more));
        assert!(!String::from_utf8_lossy(&whole[..1 << 14]).contains("text_encoder"), "checkpoints hold what learns");
    }
}

/// What was told is learned; the model's folder needs no other, and no picture depends on what is made
/// beside it, whatever the lengths of the prompts are.
#[test]
fn prompts_are_followed_by_the_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 60);
    let told = |k: usize| {
        let caption = ["bright", "a dark square"][k % 2];
        serde_json::json!({ "file_name": format!("{k}.png"), "text": caption })
    };
    fs::write(data.join("metadata.jsonl"), (0..60).map(|k| format!("{}\n", told(k))).collect::<String>()).unwrap();
    let encoder = encoder("bert", folder.path());
    let run = folder.path().join("run");
    let more = ["train.images=6400", "train.batch=32", "train.lr=4e-3", "sample.guidance=1"];
    finish(create(config_of(&data, &encoder, &more), &run));
    fs::remove_dir_all(encoder).unwrap();
    let model = Model::load(&run, &Device::flex()).unwrap();
    let prompts = ["bright", "a dark square", "BRIGHT ", "a  dark square", "a small circle"];
    let pictures = |places: &[usize]| -> Vec<Vec<f32>> {
        let cond: Cond = places.iter().map(|&k| model.conditioner.parse(prompts[k]).unwrap()).collect();
        let (plan, denoiser) = (model.plan().unwrap(), model.denoiser(&model.sample_defaults()));
        let seeds = Noise::Seeds(places.iter().map(|&k| k as u64).collect());
        let x: Tensor<4> = model.sample(&*denoiser, &plan, seeds, &cond).finish().unwrap();
        let values = x.into_data().try_into_vec_as::<f32>().unwrap();
        values.chunks(values.len() / places.len()).map(<[f32]>::to_vec).collect()
    };
    let all = pictures(&[0, 1, 2, 3, 4]);
    let brightness: Vec<f32> = all.iter().map(|x| x.iter().sum::<f32>() / x.len() as f32).collect();
    assert!(brightness[0] > 0.4 && brightness[2] > 0.4, "{brightness:?}");
    assert!(brightness[1] < -0.4 && brightness[3] < -0.4, "{brightness:?}");
    for (k, picture) in all.iter().enumerate() {
        assert!(pictures(&[k])[0] == *picture, "a picture depends on the others");
    }
    assert!(pictures(&[3, 1])[1] == all[1]);

    // What fills a prompt up is told to be nothing.
    let told = model.conditioner.encode(&[model.conditioner.parse("bright").unwrap()], &Device::flex());
    let mask = told.mask.unwrap().into_data().try_into_vec_as::<f32>().unwrap();
    assert_eq!(mask[..], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], "the start, two pieces of a word, the end");

    let long = model.conditioner.parse(&"a bright square ".repeat(9)).unwrap();
    assert!(model.conditioner.lost(&long).is_some_and(|lost| lost.contains("bright")), "what is cut off is said");
    assert_eq!(model.conditioner.lost(&Ask::None), None);
}

#[test]
fn encoders_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 10);
    let bert = encoder("bert", folder.path());
    let begins = |said: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| said.contains(part)) && said.lines().count() == 1, "{said}");
    };
    begins(
        problem(&data, &folder.path().join("nowhere"), &[]),
        &["condition.words.encoder", "nowhere", "no text encoder"],
    );
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stable_diffusion/base/vae");
    begins(problem(&data, &picture, &[]), &["condition.words.encoder", "AutoencoderKL", "reads no words"]);
    begins(problem(&data, &bert, &["condition=class"]), &["condition.words.encoder", "condition.kind = \"class\""]);
    let wordless = folder.path().join("wordless");
    copy(&bert, &wordless);
    fs::remove_file(wordless.join("tokenizer.json")).unwrap();
    begins(problem(&data, &wordless, &[]), &["condition.words.encoder", "no tokenizer"]);

    // Another one in the same place, and none.
    let run = folder.path().join("run");
    let mut trainer = create(config_of(&data, &bert, &["train.images=64"]), &run);
    assert!(trainer.by_ref().any(|event| matches!(event, Ok(Event::Step(_)))));
    trainer.save().unwrap();
    drop(trainer);
    let clip = encoder("clip", folder.path());
    fs::rename(&bert, folder.path().join("away")).unwrap();
    fs::rename(&clip, &bert).unwrap();
    let said = resume(&run, &Resume::default()).err().unwrap().to_string();
    assert!(said.contains("condition.words.encoder") && said.contains("no longer what the run began with"), "{said}");
    fs::remove_dir_all(&bert).unwrap();
    let said = resume(&run, &Resume::default()).err().unwrap().to_string();
    assert!(said.contains("condition.words.encoder") && said.contains("no text encoder"), "{said}");
}
