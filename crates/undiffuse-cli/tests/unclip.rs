//! DALL·E 2's decoder and upsampler through the built program: trained, asked with pictures, varied, blended, made large.

mod program;

use std::path::Path;

use undiffuse::burn::tensor::Device;
use undiffuse::clip::ClipModel;
use undiffuse::data::{Image, Options, encode_png, read_png_text};
use undiffuse::nn::networks::clip_vision::CLIPVisionConfig;
use undiffuse::words::WordsConfig;

use program::run;

/// Bars of 16×16 pixels, and the CLIP `clip`, which has learned nothing.
fn begin(folder: &Path) {
    std::fs::create_dir_all(folder.join("data")).unwrap();
    for k in 0..40usize {
        let lit = |i: usize| [i % 16, i / 16][k % 2].abs_diff(2 + k * 5 % 12) < 2;
        let pixels = (0..256).map(|i| if lit(i) { 230 } else { 20 }).collect();
        let png = encode_png(&Image::new(16, 16, 1, pixels), &[]).unwrap();
        std::fs::write(folder.join(format!("data/{k:02}.png")), png).unwrap();
    }
    let words = WordsConfig { vocabulary: 600, length: 12, width: 16, heads: 2, ..WordsConfig::default() };
    let pictures = CLIPVisionConfig {
        hidden_size: 16,
        intermediate_size: 32,
        projection_dim: 12,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_channels: 1,
        image_size: 16,
        patch_size: 4,
        ..CLIPVisionConfig::default()
    };
    let texts = ["a bar that stands", "a bar that lies"];
    ClipModel::untrained(&words, &pictures, &texts, 1, &Device::flex()).unwrap().save(folder.join("clip")).unwrap();
}

const TINY: [&str; 7] = [
    "network.width=8",
    "network.multiply=[1,2]",
    "network.groups=4",
    "network.head_dim=8",
    "train.batch=8",
    "sample.steps=4",
    "train.previews=1",
];

fn train(folder: &Path, preset: &str, name: &str, more: &[&str]) {
    let mut args = vec!["train", "--preset", preset, "--data", "data", "--run", name, "--images", "160"];
    TINY.iter().chain(more).for_each(|set| args.extend(["--set", set]));
    run(folder, 0, &args);
}

fn open(path: &Path) -> Image {
    Image::open(path, &Options::default()).unwrap()
}

/// What a picture says of itself.
fn facts(path: &Path) -> serde_json::Value {
    let texts = read_png_text(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_str(&texts.iter().find(|(key, _)| key == "undiffuse").unwrap().1).unwrap()
}

/// The command that makes a picture again, as `inspect` prints it, makes the same one.
fn made_again(folder: &Path, picture: &str) {
    let json = run(folder, 0, &["inspect", "--json", picture]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["missing"].as_array().map(Vec::len), Some(0), "{json}");
    let command = json["again"].as_str().unwrap().to_owned();
    let words: Vec<&str> = command
        .split(' ')
        .skip(1)
        .map(|word| word.trim_matches('\''))
        .chain(["--out", "again", "--overwrite"])
        .collect();
    run(folder, 0, &words);
    let again = std::fs::read_dir(folder.join("again")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(open(&again), open(&folder.join(picture)), "{command}");
}

#[test]
fn a_decoder_varies_and_blends() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    begin(at);
    train(at, "decoder", "decoder", &["condition.from=clip"]);
    run(at, 0, &["sample", "decoder", "--picture", "data/00.png", "-n", "3", "--out", "asked"]);
    made_again(at, "asked/00000001.png");

    run(at, 0, &["vary", "data/00.png", "--run", "decoder", "-n", "3", "--out", "varied"]);
    assert_ne!(open(&at.join("varied/000000.png")), open(&at.join("varied/000001.png")));
    made_again(at, "varied/000001.png");
    let sheet = open(&at.join("varied-grid.png"));
    assert_eq!((sheet.width, sheet.height), (2 * 16 + 3 * 2, 2 * 16 + 3 * 2), "the picture and three like it");

    // All of them the picture itself, as DDIM finds it again; with noise on the way they differ.
    run(at, 0, &["vary", "data/00.png", "--run", "decoder", "-n", "2", "--keep", "0", "--out", "kept"]);
    assert_eq!(open(&at.join("kept/000000.png")), open(&at.join("kept/000001.png")));
    made_again(at, "kept/000001.png");
    run(at, 0, &["vary", "data/00.png", "--run", "decoder", "-n", "2", "--keep", "1", "--out", "loose"]);
    assert_ne!(open(&at.join("loose/000000.png")), open(&at.join("loose/000001.png")));

    run(at, 0, &["blend", "data/00.png", "data/01.png", "--run", "decoder", "--frames", "4", "--out", "blend"]);
    let film = std::fs::read(at.join("blend.gif")).unwrap();
    assert!(film.starts_with(b"GIF89a"));
    assert_eq!(open(&at.join("blend/000000.png")), open(&at.join("kept/000000.png")), "it begins at the picture");
    assert_ne!(open(&at.join("blend/000001.png")), open(&at.join("blend/000002.png")));
    assert_eq!(facts(&at.join("blend/000003.png"))["blend"], 1.0);
    made_again(at, "blend/000002.png");

    let texts = ["--from", "a bar that stands", "--to", "a bar that lies"];
    let moved = ["vary", "data/00.png", "--run", "decoder", "-n", "3", "--out", "moved", "--theta", "0.4"];
    run(at, 0, &[&moved[..], &texts].concat());
    assert_eq!(open(&at.join("moved/000000.png")), open(&at.join("kept/000000.png")), "it begins at the picture");
    let said = facts(&at.join("moved/000002.png"));
    assert_eq!((said["from"].as_str(), said["theta"].as_f64()), (Some("a bar that stands"), Some(0.4)));
    made_again(at, "moved/000001.png");
}

#[test]
fn an_upsampler_makes_pictures_large() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    begin(at);
    train(at, "upsampler", "upsampler", &["data.size=16", "condition.from=8"]);
    std::fs::write(at.join("low.png"), encode_png(&Image::filled(8, 8, &[200]), &[]).unwrap()).unwrap();
    run(at, 0, &["sample", "upsampler", "--small", "low.png", "--small", "low.png:0.2", "-n", "2", "--out", "large"]);
    let large = open(&at.join("large/00000000.png"));
    assert_eq!((large.width, large.height), (16, 16));
    made_again(at, "large/00000000.png");
    made_again(at, "large/00000001.png");
    let size = run(at, 2, &["sample", "upsampler", "--small", "low.png", "--size", "32"]);
    assert!(size.contains("--size") && size.contains("16×16 large"), "{size}");
    let noisy = run(at, 2, &["sample", "upsampler", "--small", "low.png:0.9"]);
    assert!(noisy.contains("from 0 to 0.5"), "{noisy}");

    // A line each for what can't be.
    let code = |args: &[&str], problem: &str| {
        let said = run(at, 2, args);
        assert!(said.contains(problem), "{args:?}: {said}");
    };
    code(&["vary", "low.png", "--run", "upsampler"], "can't be asked with pictures");
    code(&["sample", "upsampler", "--picture", "low.png"], "can't be asked with pictures");
    code(&["sample", "upsampler", "--small", "data"], "--small");
    code(&["blend", "low.png", "low.png", "--run", "upsampler", "--frames", "1"], "at least 2");
    code(&["vary", "low.png", "--run", "upsampler", "--keep", "2"], "--keep 2");
    code(&["vary", "low.png", "--run", "upsampler", "--from", "a", "--to", "b", "--theta", "3"], "--theta 3");
    code(&["train", "--preset", "decoder", "--data", "data", "--run", "no"], "condition.from=CLIP");
    code(
        &["train", "--preset", "decoder", "--data", "data", "--run", "no", "--set", "condition.from=data"],
        "holds no CLIP",
    );
}
