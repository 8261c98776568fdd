//! Embeddings through training, resuming and sampling.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use undiffuse::Model;
use undiffuse::condition::{Ask, Conditioner};
use undiffuse::data::{Image, encode_png};
use undiffuse::denoise::Cond;
use undiffuse::nn::weights::{Named, to_bytes};
use undiffuse::request::{Asks, facts};
use undiffuse::sample::Noise;
use undiffuse::train::{Config, Resume, Trainer};

/// Grey pictures of 8×8 pixels with their brightness, and half of it beside a constant.
fn pictures(folder: &Path, n: usize) -> PathBuf {
    let data = folder.join("pictures");
    std::fs::create_dir_all(&data).unwrap();
    let mut table = String::new();
    for k in 0..n {
        let level = k * 255 / n;
        let png = encode_png(&Image::new(8, 8, 1, vec![level as u8; 64]), &[]).unwrap();
        std::fs::write(data.join(format!("{k:03}.png")), png).unwrap();
        let level = level as f64 / 255.0;
        table += &format!("{{\"file_name\": \"{k:03}.png\", \"level\": {level}, \"more\": [{}, 2]}}\n", level / 2.0);
    }
    std::fs::write(data.join("metadata.jsonl"), table).unwrap();
    data
}

fn config(data: &Path, condition: &str) -> Result<Config, undiffuse::train::ConfigError> {
    let settings = [
        "network.width=8",
        "network.multiply=[1,2]",
        "network.groups=4",
        "network.head_dim=8",
        "network.attention=4",
        "train.batch=8",
        "train.previews=1",
        "train.warmup_images=32",
        "sample.steps=4",
        "train.images=64",
    ];
    let mut settings: Vec<String> = settings.map(str::to_owned).to_vec();
    settings.extend([format!("data.path={:?}", data.display().to_string()), format!("condition={condition}")]);
    Config::layered("quick", None, &settings)
}

fn create(data: &Path, condition: &str, run: &Path) -> Result<Trainer, undiffuse::train::TrainError> {
    Trainer::create(config(data, condition)?, run, &Device::flex(), &mut |_| {})
}

#[test]
fn a_run_learns_embeddings_and_its_model_is_asked_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (pictures(folder.path(), 40), folder.path().join("run"));
    create(&data, "embedding:level,more", &run).unwrap().for_each(|event| drop(event.unwrap()));
    let model = Model::load(&run, &Device::flex()).unwrap();
    assert!(matches!(model.conditioner, Conditioner::Embedding(_)) && model.conditioner.guides());
    assert!(model.card.classes.is_empty() && model.card.null_class.is_none());

    let cond = Asks::of("embedding", ["0.5,0.25,2", "none"]).cond(&model.conditioner, 4).unwrap();
    assert_eq!(cond.asks[0], Ask::Vector([0.5, 0.25, 2.0].into()));
    let plan = model.plan().unwrap();
    let walk = |cond: &Cond, guidance: f64| {
        let denoiser = model.denoiser(guidance);
        let seeds = Noise::Seeds((0..cond.len() as u64).collect());
        let x = model.sample(&*denoiser, &plan, seeds, cond).finish().unwrap();
        x.into_data().try_into_vec_as::<f32>().unwrap()
    };
    // A picture is the same bits alone, and guidance leads away from nothing in particular.
    let all = walk(&cond, 2.0);
    assert_eq!(all[..64], walk(&cond.select([0]), 2.0)[..]);
    assert_ne!(all[..64], walk(&cond.unconditional(), 2.0)[..64]);
    let said = facts(&model, "run", &model.sample_defaults(), 3, &cond, 0);
    assert_eq!((said["embedding"].as_str(), said.get("class")), (Some("0.5,0.25,2"), None));
    // Nothing asked: vectors of training pictures take turns.
    assert_eq!(Asks::default().cond(&model.conditioner, 12).unwrap().len(), 12);
    let refused = Asks::of("class", ["3"]).cond(&model.conditioner, 1).unwrap_err().to_string();
    assert_eq!(refused, "class: this model was trained without classes");

    // What is said of the pictures belongs to the run.
    let table = std::fs::read_to_string(data.join("metadata.jsonl")).unwrap();
    std::fs::write(data.join("metadata.jsonl"), table.replacen("\"level\": 0,", "\"level\": 9,", 1)).unwrap();
    let resume = Trainer::resume(&run, &Resume::default(), &Device::flex(), &mut |_| {});
    assert!(resume.err().unwrap().to_string().contains("no longer what the run began with"));
}

#[test]
fn what_cannot_be_told_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (pictures(folder.path(), 40), folder.path().join("run"));
    let table = std::fs::read_to_string(data.join("metadata.jsonl")).unwrap();
    std::fs::write(data.join("metadata.jsonl"), table.replace("\"level\": 0,", "\"other\": 0,")).unwrap();
    let (rows, other) = (folder.path().join("rows.safetensors"), folder.path().join("other.safetensors"));
    for (path, name) in [(&rows, "embedding"), (&other, "vectors")] {
        let tensor = Named { name: name.into(), shape: vec![39, 2], values: vec![0.5; 78] };
        std::fs::write(path, to_bytes(&[tensor], None)).unwrap();
    }
    for (condition, problem) in [
        (&*format!("embedding:{}", rows.display()), "has 39 rows, the data 40 pictures"),
        (&*format!("embedding:{}", other.display()), "holds no tensor `embedding` [pictures, numbers]"),
        ("embedding:level", "1 of 40 pictures have no numbers under `level`: 000.png"),
        (
            "embedding",
            "no picture has numbers under `embedding`; the tables beside the pictures have the columns level, more, other",
        ),
        ("captions", "choose from auto, none, class, embedding"),
    ] {
        let said = create(&data, condition, &run).err().unwrap().to_string();
        assert!(said.contains(problem), "{said}");
    }
}
