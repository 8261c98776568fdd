//! DALL·E 2's decoder, told what a CLIP sees in pictures, and its upsampler, shown pictures small.

use std::fs;

use burn::tensor::Tensor;
use undiffuse::clip::ClipModel;
use undiffuse::condition::{Conditioner, Small};
use undiffuse::nn::networks::clip_vision::CLIPVisionConfig;
use undiffuse::request::{Asks, picture};
use undiffuse::sample::Noise;
use undiffuse::words::WordsConfig;

use super::words::captioned;
use super::*;

/// A CLIP with random weights, whose vectors have so many numbers.
pub(super) fn clip(folder: &Path, width: usize) -> PathBuf {
    let words = WordsConfig { vocabulary: 600, length: 12, width: 16, heads: 2, ..WordsConfig::default() };
    let pictures = CLIPVisionConfig {
        hidden_size: 16,
        intermediate_size: 32,
        projection_dim: width,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_channels: 1,
        image_size: 8,
        patch_size: 4,
        ..CLIPVisionConfig::default()
    };
    let texts = ["a bright square", "a dark square"];
    let path = folder.join(format!("clip-{width}"));
    ClipModel::untrained(&words, &pictures, &texts, 5, &Device::flex()).unwrap().save(&path).unwrap();
    path
}

fn from(clip: &Path) -> String {
    format!("condition.from={:?}", clip.display().to_string())
}

fn square(value: u8) -> Image {
    Image::filled(8, 8, &[value])
}

/// Walks of the model's own settings with seeds 0, 1, 2…
fn made(model: &Model, cond: &undiffuse::denoise::Cond, seeds: Vec<u64>) -> Vec<f32> {
    let (plan, denoiser) = (model.plan().unwrap(), model.denoiser(&model.sample_defaults()));
    let x: Tensor<4> = model.sample(&*denoiser, &plan, Noise::Seeds(seeds), cond).finish().unwrap();
    x.into_data().try_into_vec_as::<f32>().unwrap()
}

/// The mean of each picture.
fn brightness(values: &[f32], pictures: usize) -> Vec<f32> {
    values.chunks(values.len() / pictures).map(|one| one.iter().sum::<f32>() / one.len() as f32).collect()
}

#[test]
fn parts_threads_and_resuming_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (data, from) = (captioned(folder.path(), 40), from(&clip(folder.path(), 12)));
    for (kind, told) in [("picture", from.as_str()), ("small", "condition.from=4")] {
        let (runs, kind) = (folder.path().join(kind), format!("condition.kind={kind}"));
        same_bits(&runs, &[4], |more| config(&data, &[&[kind.as_str(), told], more].concat()));
    }
}

/// What is asked with is shown, and what is not said by its vector is in the noise that inversion finds.
#[test]
fn a_decoder_makes_pictures_like_one() {
    let folder = tempfile::tempdir().unwrap();
    let (data, clip) = (captioned(folder.path(), 60), clip(folder.path(), 12));
    let run = folder.path().join("run");
    let more = ["train.images=6400", "train.batch=32", "train.lr=4e-3", "sample.guidance=1", "condition.kind=picture"];
    finish(create(config(&data, &[&more[..], &[&from(&clip)]].concat()), &run));
    // The model carries its CLIP.
    fs::remove_dir_all(&clip).unwrap();
    let mut model = Model::load(&run, &Device::flex()).unwrap();
    let Conditioner::Picture(pictures) = &model.conditioner else { panic!("a decoder is asked with pictures") };
    let asks = [square(203), square(24), square(203)].map(|image| pictures.like(&image).unwrap());
    let cond = model.conditioner.turns(asks.to_vec(), 3);
    let values = made(&model, &cond, vec![0, 1, 2]);
    let of = brightness(&values, 3);
    assert!(of[0] > 0.35 && of[1] < -0.5 && of[2] > 0.35, "{of:?}");
    let alone = made(&model, &cond.select([1]), vec![1]);
    assert!(alone == values[64..128], "a picture depends on those beside it");

    // The ways to ask for the same.
    let file = folder.path().join("dark.png");
    fs::write(&file, encode_png(&square(24), &[]).unwrap()).unwrap();
    let word = model.conditioner.print(&asks[1]);
    assert_eq!(model.conditioner.parse(&word).unwrap(), asks[1]);
    assert_eq!(model.conditioner.list(file.to_str().unwrap()).unwrap(), [asks[1].clone()]);
    assert_eq!(model.conditioner.parse(&undiffuse::image::to_url(&square(24))).unwrap(), asks[1]);
    assert!(model.conditioner.all().len() >= 9, "pictures of training take turns when nothing is asked for");

    let copy = folder.path().join("copy");
    model.save(&copy).unwrap();
    let again = Model::load(&copy, &Device::flex()).unwrap();
    assert!(again.conditioner == model.conditioner && made(&again, &cond, vec![0, 1, 2]) == values);
    assert!(ClipModel::read(&copy, &Device::flex()).is_ok(), "its CLIP is one by itself");

    // DDIM goes back to the picture from the noise that was found for it, and from other noise it does not.
    let settings = SampleDefaults { solver: "ddim".parse().unwrap(), steps: 50, ..model.sample_defaults() };
    model = model.with(settings);
    let target = picture(&model, &Image::open(&data.join("1.png"), &Options::default()).unwrap());
    let dark = cond.select([1]);
    let found = model.inverted(target.clone(), &dark).unwrap();
    let plan = model.plan().unwrap();
    let denoiser = model.denoiser(&model.sample_defaults());
    let off = |noise: Noise| {
        let x = model.sample(&*denoiser, &plan, noise, &dark).finish().unwrap();
        (x - target.clone()).abs().mean().into_scalar::<f32>()
    };
    let (own, other) = (off(Noise::Begun(Box::new(found), vec![0])), off(Noise::Seeds(vec![7])));
    assert!(own < 0.02 && own < other / 2.0, "{own} from its own noise, {other} from another's");
}

#[test]
fn an_upsampler_shows_the_small_picture() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (captioned(folder.path(), 60), folder.path().join("run"));
    let more = ["train.images=3200", "train.batch=32", "train.lr=4e-3", "condition.kind=small", "condition.from=4"];
    finish(create(config(&data, &more), &run));
    let model = Model::load(&run, &Device::flex()).unwrap();
    assert_eq!((model.picture_shape(), model.latent_shape()), ([1, 8, 8], [1, 8, 8]));
    assert!(!model.paints() && model.network.config().io().channels_in == 2);
    let file = folder.path().join("small.png");
    fs::write(&file, encode_png(&Image::filled(4, 4, &[203]), &[]).unwrap()).unwrap();
    let dark = undiffuse::image::to_url(&Image::filled(9, 9, &[24]));
    let conditioner = &model.conditioner;
    let named = file.display().to_string();
    let asks = [conditioner.list(&named).unwrap().remove(0), conditioner.parse(&dark).unwrap()];
    let noisy = conditioner.list(&format!("{named}:0.25")).unwrap().remove(0);
    for ask in [&asks[0], &asks[1], &noisy] {
        assert_eq!(&conditioner.parse(&conditioner.print(ask)).unwrap(), ask, "what is printed is read as the same");
    }
    let cond = conditioner.turns([&asks[..], &[noisy]].concat(), 3);
    let values = made(&model, &cond, vec![0, 1, 2]);
    let of = brightness(&values, 3);
    assert!(of[0] > 0.4 && of[1] < -0.5 && of[2] > 0.3, "{of:?}");
    assert!(made(&model, &cond.select([1]), vec![1]) == values[64..128], "a picture depends on those beside it");
    assert!(conditioner.all().len() >= 9);
    let copy = folder.path().join("copy");
    model.save(&copy).unwrap();
    let again = Model::load(&copy, &Device::flex()).unwrap();
    assert!(again.conditioner == model.conditioner && made(&again, &cond, vec![0, 1, 2]) == values);
}

/// `c_s = cos(pi s / 2) c + sin(pi s / 2) eps` and `1000 s`, by the moments of what the network reads of a picture of one value.
#[test]
fn small_pictures_are_spoilt_as_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), 20);
    let run = folder.path().join("run");
    let more =
        ["train.images=8", "condition.kind=small", "condition.from=8", "data.size=64", "condition.small.noise=1"];
    finish(create(config(&data, &more), &run));
    let model = Model::load(&run, &Device::flex()).unwrap();
    for (value, noise) in [(255, 0.0), (255, 0.25), (0, 0.5), (191, 1.0)] {
        let small = Small { picture: Image::filled(8, 8, &[value]), noise, seed: 3 };
        let condition = model.conditioner.encode(&[Ask::Small(small.into())], &Device::flex());
        assert_eq!(condition.labels.unwrap(), [1000.0 * noise as f32]);
        let seen = condition.beside.unwrap().into_data().try_into_vec_as::<f32>().unwrap();
        let (n, angle) = (seen.len() as f64, std::f64::consts::FRAC_PI_2 * noise);
        let mean = seen.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let std = (seen.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Four standard errors of 4096 numbers.
        let expected = (angle.cos() * (f64::from(value) / 127.5 - 1.0), angle.sin());
        assert!((mean - expected.0).abs() < 0.063 * angle.sin() + 1e-6, "{value} {noise}: {mean}");
        assert!((std - expected.1).abs() < 0.045 * angle.sin() + 1e-6, "{value} {noise}: {std}");
    }
    // In training a picture is never seen but small.
    let white = vec![1.0; 64 * 64];
    let small = Small { picture: Image::filled(8, 8, &[0]), noise: 0.0, seed: 0 };
    let levels: Vec<f64> = (0..50)
        .map(|seed| match model.conditioner.drawn(Ask::Small(small.clone().into()), &white, seed) {
            Ask::Small(drawn) => {
                assert_eq!(drawn.picture, Image::filled(8, 8, &[255]));
                drawn.noise
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let mean = levels.iter().sum::<f64>() / 50.0;
    assert!((mean - 0.5).abs() < 0.17 && levels.iter().all(|level| (0.0..=1.0).contains(level)), "{levels:?}");
}

/// What can't be, in a line each.
#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, clip, other) = (captioned(folder.path(), 20), clip(folder.path(), 12), clip(folder.path(), 10));
    let refused = |more: &[&str]| {
        let told = Trainer::create(config(&data, more), &folder.path().join("no"), &Device::flex(), &mut |_| {});
        told.err().expect("refused").to_string()
    };
    let nowhere = from(&folder.path().join("nowhere"));
    let (named, of_data) = (from(&clip), from(&data));
    for (settings, problem) in [
        (&["condition=picture"][..], "name the folder of a CLIP"),
        (&["condition.kind=picture", &nowhere], "nowhere"),
        (&["condition.kind=picture", &of_data], "holds no CLIP"),
        (&["condition=small:8"], "less than the 8 pixels of the large ones"),
        (&["condition=small:tiny"], "the side of the small pictures"),
        (&["condition=small:4", "network.kind=dit"], "network.kind = \"unet\""),
        (&["condition.kind=picture", &named, "network.kind=dit"], "network.kind = \"dit\""),
    ] {
        let settings: Vec<&str> = settings.to_vec();
        let said = match Config::layered("quick", None, &all(&data, &settings)) {
            Ok(config) => Trainer::create(config, &folder.path().join("no"), &Device::flex(), &mut |_| {})
                .err()
                .expect("refused")
                .to_string(),
            Err(e) => e.to_string(),
        };
        assert!(said.contains(problem), "{settings:?}: {said}");
    }
    let latents = Config::layered("quick", None, &all(&data, &["condition=small:4", "codec=haar"])).unwrap_err();
    assert!(latents.to_string().contains("codec = \"pixels\""), "{latents}");
    assert!(refused(&["condition.kind=picture"]).contains("condition.from"));

    // A decoder with the CLIP of another.
    let run = folder.path().join("run");
    let mut trainer = create(config(&data, &["condition.kind=picture", &named, "train.images=16"]), &run);
    assert!(trainer.by_ref().any(|event| matches!(event, Ok(Event::Step(_)))));
    trainer.save().unwrap();
    drop(trainer);
    let model = Model::load(&run, &Device::flex()).unwrap();
    let asked = |field: &'static str, word: &str| {
        Asks::of(field, [word]).cond(&model.conditioner, 1).err().map(|e| e.to_string()).unwrap_or_default()
    };
    for (field, word, problem) in [
        ("prompt", "a dark square", "was not trained on words"),
        ("picture", "x", "`x` is not a number"),
        ("picture", "1,2", "2 numbers; its CLIP makes vectors of 12"),
        ("picture", "0,0,0,0,0,0,0,0,0,0,0,0", "no direction"),
        ("picture", "data:image/png;base64,!!", "no base64"),
        ("picture", "data:image/png;base64,AAAA", "picture's URL"),
        ("small", "none", "makes no small pictures large"),
    ] {
        assert!(asked(field, word).contains(problem), "{word}: {}", asked(field, word));
    }
    let text = data.join("metadata.jsonl");
    assert!(model.conditioner.list(text.to_str().unwrap()).is_err());
    assert!(model.conditioner.list("missing.png").unwrap_err().to_string().contains("missing.png"));
    for part in ["image_encoder", "text_encoder"] {
        fs::remove_dir_all(run.join("model").join(part)).unwrap();
        fs::create_dir(run.join("model").join(part)).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(other.join(part).join(file), run.join("model").join(part).join(file)).unwrap();
        }
    }
    let said = Model::load(&run, &Device::flex()).unwrap_err().to_string();
    assert!(said.contains("vectors of 12 numbers") && said.contains("makes 10"), "{said}");
    // A run goes on with the CLIP that it began with.
    fs::remove_dir_all(&clip).unwrap();
    fs::rename(&other, &clip).unwrap();
    let said = resume(&run, &Resume::default()).err().expect("refused").to_string();
    assert!(said.contains("no longer what the run began with"), "{said}");
}

/// The settings of `config`, for configurations that are refused.
fn all(data: &Path, more: &[&str]) -> Vec<String> {
    let network = |setting: &&str| !setting.starts_with("network.") || !more.contains(&"network.kind=dit");
    let own = TINY.iter().copied().filter(network).map(str::to_owned);
    let path = format!("data.path={:?}", data.display().to_string());
    own.chain([path]).chain(more.iter().map(|setting| (*setting).to_owned())).collect()
}
