//! Training on captions: the text encoder learns with the network, and every promise holds for both.

use std::fs;

use burn::tensor::Tensor;
use undiffuse::condition::Conditioner;
use undiffuse::nn::weights::export;
use undiffuse::sample::Noise;

use super::*;

/// Grey squares that say how bright they are, in two wordings, every third in one; the last has no caption.
pub fn captioned(folder: &Path, n: usize) -> PathBuf {
    let data = folder.join("captioned");
    fs::create_dir_all(&data).unwrap();
    let mut table = String::new();
    for k in 0..n {
        let bright = k % 2 == 0;
        let pixels = (0..64).map(|i| if bright { 200 + (i % 7) as u8 } else { 20 + (k % 9) as u8 }).collect();
        fs::write(data.join(format!("{k}.png")), encode_png(&Image::new(8, 8, 1, pixels), &[]).unwrap()).unwrap();
        let word = if bright { "bright" } else { "dark" };
        let text = if k % 3 == 0 {
            serde_json::json!([format!("a {word} square")])
        } else {
            serde_json::json!([format!("a {word} square"), format!("the square is {word}")])
        };
        if k + 1 < n {
            table += &serde_json::json!({ "file_name": format!("{k}.png"), "text": text }).to_string();
            table.push('\n');
        }
    }
    fs::write(data.join("metadata.jsonl"), table).unwrap();
    data
}

const WORDS: [&str; 3] = ["condition.words.width=16", "condition.words.heads=2", "condition.words.vocabulary=600"];

fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&WORDS[..], more].concat()
}

#[test]
fn parts_threads_and_resuming_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 70);
    same_bits(folder.path(), &[2, 8], |more| config(&data, &settings(more)));
}

/// What was told is learned: a prompt decides what is shown, in any of the wordings. What was trained is a model like any other,
/// the same once it is read again.
#[test]
fn prompts_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 60);
    let run = folder.path().join("run");
    let mut trainer = create(config(&data, &settings(&["train.images=8"])), &folder.path().join("short"));
    let Some(Ok(Event::Started(started))) = trainer.next() else { panic!("a run begins with what it begins with") };
    assert!(started.warnings.iter().any(|said| said.contains("1 of 60 pictures have no caption")), "{started:?}");
    let more = settings(&["train.images=6400", "train.batch=32", "train.lr=4e-3", "sample.guidance=1"]);
    finish(create(config(&data, &more), &run));
    let model = Model::load(&run, &Device::flex()).unwrap();
    assert!(matches!(model.conditioner, Conditioner::Text(_)));
    assert!(model.conditioner.all().len() >= 9, "captions take turns when nothing is asked for");
    let brightness = |words: &[&str]| {
        let asks = words.iter().map(|word| model.conditioner.parse(word).unwrap()).collect();
        let cond = model.conditioner.turns(asks, words.len());
        let (plan, denoiser) = (model.plan().unwrap(), model.denoiser(&model.sample_defaults()));
        let seeds = Noise::Seeds((0..words.len() as u64).collect());
        let x: Tensor<4> = model.sample(&*denoiser, &plan, seeds, &cond).finish().unwrap();
        x.mean_dim(3).mean_dim(2).into_data().try_into_vec_as::<f32>().unwrap()
    };
    let of = brightness(&["a bright square", "a dark square", "the square is bright", "The square  is DARK"]);
    assert!(of[0] > 0.4 && of[2] > 0.4 && of[1] < -0.4 && of[3] < -0.4, "{of:?}");

    let copy = folder.path().join("copy");
    model.save(&copy).unwrap();
    let again = Model::load(&copy, &Device::flex()).unwrap();
    let encoder = |model: &Model| export(&*model.conditioner.words().unwrap().encoder().unwrap());
    assert!(encoder(&again) == encoder(&model) && !encoder(&again).is_empty());
    assert_eq!(again.conditioner.all(), model.conditioner.all());
}

/// Of folders of classes, a template makes captions; of what says nothing, nothing is learned.
#[test]
fn classes_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    finish(create(config(&data, &["condition=text", "train.images=16"]), &run));
    let model = Model::load(&run, &Device::flex()).unwrap();
    let asks: Vec<String> = model.conditioner.all().iter().map(|ask| model.conditioner.print(ask)).collect();
    assert!(asks.contains(&"a disc".to_owned()) && asks.contains(&"a square".to_owned()), "{asks:?}");

    let plain = folder.path().join("plain");
    fs::create_dir(&plain).unwrap();
    for k in 0..4u8 {
        fs::write(plain.join(format!("{k}.png")), encode_png(&Image::new(8, 8, 1, vec![k; 64]), &[]).unwrap()).unwrap();
    }
    let refused =
        Trainer::create(config(&plain, &["condition=text"]), &folder.path().join("no"), &Device::flex(), &mut |_| {});
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("no captions and no classes"), "{said}");
}
