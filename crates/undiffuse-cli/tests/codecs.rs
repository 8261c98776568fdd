//! Every codec the whole way through the built program: trained, resumed, sampled, painted, measured, looked at.

mod program;

use std::path::Path;

use serde_json::Value;
use undiffuse::codec::CodecKind;
use undiffuse::data::{Image, Options, encode_png};

use program::run;

fn save(path: &Path, width: usize, height: usize, grey: impl Fn(usize, usize) -> u8) {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| grey(x, y)).collect();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, encode_png(&Image::new(width, height, 1, pixels), &[]).unwrap()).unwrap();
}

/// Bars of 16x16 pixels in two classes.
fn pictures(folder: &Path) {
    for k in 0..40usize {
        let lit = |x: usize, y: usize| [x, y][k % 2].abs_diff(2 + k * 5 % 12) < 2;
        let path = folder.join(["data/upright", "data/level"][k % 2]).join(format!("{k:02}.png"));
        save(&path, 16, 16, |x, y| if lit(x, y) { 230 } else { 20 });
    }
}

fn open(path: &Path) -> Image {
    Image::open(path, &Options::default()).unwrap()
}

const TINY: [&str; 5] =
    ["network.width=8", "network.multiply=[1,2]", "network.groups=4", "network.head_dim=8", "train.batch=8"];

fn train(codec: &CodecKind, run_: &str, more: &[&str]) -> Vec<String> {
    let mut args = ["train", "--preset", "improved-ddpm", "--data", "data", "--run", run_].map(String::from).to_vec();
    let codec = format!("codec={codec}");
    for set in TINY.iter().chain(&["sample.steps=6", "data.held_out=0.25", &codec]).chain(more) {
        args.extend(["--set".into(), (*set).to_owned()]);
    }
    args
}

fn all(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn every_codec_goes_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pictures(at);
    // What is known of a picture: all of it but a block that cuts through every scale of a wavelet.
    save(&at.join("known.png"), 16, 16, |x, y| (x * 16 + y) as u8);
    save(&at.join("mask.png"), 16, 16, |x, y| if (3..10).contains(&x) && (5..12).contains(&y) { 255 } else { 0 });
    for codec in CodecKind::ALL.iter().map(|entry| (entry.default)()).filter(|codec| codec.one_way().is_none()) {
        let tag = codec.tag();
        let (name, model) = (format!("run-{tag}"), format!("run-{tag}/model"));
        run(at, 0, &all(&[train(&codec, &name, &[]), vec!["--images".into(), "240".into()]].concat()));
        run(at, 0, &["train", "--resume", &name, "--images", "400"]);
        let config = std::fs::read_to_string(at.join(&name).join("config.toml")).unwrap();
        assert!(config.contains(&format!("[codec]\nkind = \"{tag}\"")), "{config}");
        let samples = std::fs::read_dir(at.join(&name).join("samples")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(open(&samples).width, 10 * 18 + 2, "{tag}");

        // A model that diffuses no pixels is no pipeline of diffusers, and says what it is.
        assert_eq!(at.join(&model).join("model_index.json").is_file(), codec.is_identity(), "{tag}");
        assert!(at.join(&model).join("unet/config.json").is_file(), "{tag}");
        let told = run(at, 0, &["inspect", &model]);
        assert_eq!(told.contains("codec"), !codec.is_identity(), "{told}");
        let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
        let shapes = match codec.latent_shape([1, 16, 16]).unwrap() {
            [1, 16, 16] => "pictures 16×16, 1 in, 2 out channels".to_owned(),
            [c, h, w] => format!("pictures 16×16, 1 channel latents {w}×{h}, {c} in, {} out channels", 2 * c),
        };
        assert!(words.contains(&shapes), "`{shapes}` is missing in {told}");

        run(
            at,
            0,
            &["sample", &name, "-n", "3", "--out", &format!("some-{tag}"), "--raw", &format!("{tag}.safetensors")],
        );
        let one = open(&at.join(format!("some-{tag}")).join("00000001-upright.png"));
        assert_eq!((one.width, one.height, one.channels), (16, 16, 1), "{tag}");
        let half =
            ["--out", &format!("half-{tag}"), "--init-image", "known.png", "--mask", "mask.png"].map(String::from);
        run(at, 0, &all(&[vec!["sample".into(), name.clone(), "-n".into(), "2".into()], half.to_vec()].concat()));
        let (painted, known, mask) = (
            open(&at.join(format!("half-{tag}")).join("00000000-level.png")),
            open(&at.join("known.png")),
            open(&at.join("mask.png")),
        );
        let kept = (0..256).filter(|&i| mask.pixels[i] == 0 && painted.pixels[i] != known.pixels[i]).count();
        let changed = (0..256).filter(|&i| mask.pixels[i] > 0 && painted.pixels[i] != known.pixels[i]).count();
        assert!(kept == 0 && changed > 20, "{tag}: {kept} known pixels changed, {changed} painted");
        for more in
            [&["--observed", "known.png", "--observed-noise", "0.1"][..], &["--adaptive", "1e-2"], &["--size", "24x16"]]
        {
            run(at, 0, &[&["sample", &name, "-n", "1", "--overwrite", "--out", "other"], more].concat());
        }
        if !codec.is_identity() {
            let refused = run(at, 2, &["sample", &name, "-n", "1", "--out", "odd", "--size", "17x16"]);
            assert!(refused.contains(tag) && refused.contains("17×16"), "{refused}");
        }

        let found = run(at, 0, &["nll", &name, "-n", "4", "--steps", "20", "--variance", "learned", "--json"]);
        let found: Value = serde_json::from_str(&found[found.find('{').unwrap()..=found.rfind('}').unwrap()]).unwrap();
        let bits = |of: &str| found[of]["bits_per_dim"]["mean"].as_f64().unwrap();
        assert!(bits("bound").is_finite() && bits("ode").is_finite(), "{found:#}");
        run(at, 0, &["doctor", &name]);
        run(
            at,
            0,
            &["eval", &name, "--data", "data", "-n", "8", "--likelihood", "0", "--features", "pixels", "--no-audit"],
        );
    }
}

#[test]
fn a_codec_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pictures(at);
    let pixels = CodecKind::default();
    run(at, 0, &all(&[train(&pixels, "run", &[]), vec!["--images".into(), "16".into()]].concat()));
    let card = at.join("run/model/undiffuse.json");
    let whole = std::fs::read_to_string(&card).unwrap();
    std::fs::write(&card, whole.replacen('{', "{\"codec\": {\"kind\": \"pixel\"},", 1)).unwrap();
    let refused = run(at, 1, &["sample", "run", "-n", "1"]);
    assert!(refused.contains("undiffuse.json") && refused.contains("`pixel`, did you mean `pixels`"), "{refused}");
}
