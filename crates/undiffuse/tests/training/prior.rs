//! Training a prior: from captions to the vectors that a CLIP makes of their pictures.

use undiffuse::clip::{ClipModel, Vectors};
use undiffuse::condition::Ask;
use undiffuse::model::ModelError;
use undiffuse::nn::networks::clip_vision::CLIPVisionConfig;
use undiffuse::prior::{Prior, PriorError};
use undiffuse::words::WordsConfig;

use super::words::captioned;
use super::*;

/// A CLIP with random weights, whose text tokens have `width` numbers and whose vectors 16.
fn clip(to: &Path, seed: u64, width: usize) -> PathBuf {
    let words = WordsConfig { vocabulary: 600, length: 16, width, layers: 2, heads: 2, ..WordsConfig::default() };
    let pictures = CLIPVisionConfig {
        hidden_size: 16,
        intermediate_size: 32,
        projection_dim: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        image_size: 8,
        patch_size: 4,
        ..CLIPVisionConfig::default()
    };
    let texts = ["a bright square", "the square is dark"];
    let clip = ClipModel::untrained(&words, &pictures, &texts, seed, &Device::flex()).unwrap();
    let path = to.join(format!("clip-{seed}-{width}"));
    clip.save(&path).unwrap();
    path
}

fn config_of(data: &Path, clip: Option<&Path>, more: &[&str]) -> Config {
    let mut settings = vec![format!("data.path={:?}", data.display().to_string())];
    settings.extend(clip.map(|clip| format!("condition.words.encoder={}", clip.display())));
    let tiny =
        ["network.width=32", "network.head_dim=16", "network.layers=2", "train.warmup_images=32", "sample.steps=5"];
    settings.extend(tiny.iter().chain(more).map(|setting| (*setting).to_owned()));
    Config::layered("prior", None, &settings).unwrap()
}

fn refused(config: Config, run: &Path) -> String {
    let said = Trainer::create(config, run, &Device::flex(), &mut |_| {}).err().unwrap().to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn parts_threads_and_resuming_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (data, clip) = (captioned(folder.path(), 70), clip(folder.path(), 3, 16));
    let settings = ["data.flip=true", "network.dropout=0.1"];
    same_bits(folder.path(), &[8], |more| config_of(&data, Some(&clip), &[&settings[..], more].concat()));
}

/// Its vectors are near those of pictures that it has not seen, nearer than the mean of all; they are the same bits alone and among
/// others, and those of two draws are no farther from the text.
#[test]
fn vectors_of_pictures_are_made_of_words() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (captioned(folder.path(), 80), clip(folder.path(), 3, 16));
    let run = folder.path().join("run");
    let more = ["train.images=12800", "train.batch=32", "train.lr=2e-3", "data.held_out=0.2", "train.previews=2"];
    finish(create(config_of(&data, Some(&path), &more), &run));

    let clip = ClipModel::read(&path, &Device::flex()).unwrap();
    let prior = Prior::load(&run, &Device::flex()).unwrap();
    prior.check(&clip).unwrap();
    let (pictures, held_out) = undiffuse::run::RunFolder::new(&run).held_out(&mut |_| {}).unwrap();
    let images: Vec<Image> = held_out.iter().map(|&i| pictures.image(i)).collect();
    let truth = clip.pictures(&images).unwrap();
    let asks: Vec<Ask> = held_out.iter().map(|&i| prior.model().conditioner.ask(&pictures, i, 0)).collect();
    let seeds: Vec<u64> = (0..asks.len() as u64).collect();
    let made = prior.vectors(&asks, &seeds, 1).unwrap();
    // As a distance: these vectors all point much the same way.
    let far = |of: &dyn Fn(usize) -> Vec<f32>| -> f32 {
        let square = |k: usize| truth.row(k).iter().zip(of(k)).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        (0..asks.len()).map(square).sum()
    };
    let (own, mean) = (far(&|k| made.row(k).to_vec()), far(&|_| prior.mean()));
    assert!(own < 0.3 * mean, "{own} beside {mean} of the mean alone");

    for k in 0..3 {
        let alone = prior.vectors(&asks[k..=k], &seeds[k..=k], 1).unwrap();
        assert_eq!(alone.row(0), made.row(k), "a vector depends on the others");
    }
    let (texts, nearer) = (prior.texts(&asks).unwrap(), prior.vectors(&asks, &seeds, 2).unwrap());
    let product = |of: &Vectors, k: usize| of.product(k, texts.row(k));
    assert!((0..asks.len()).all(|k| product(&nearer, k) >= product(&made, k)));
    assert_ne!(nearer, made);

    // What it diffuses was standardised over the pictures that it learned from, whose mean it knows.
    let train: Vec<Image> = (0..80).filter(|i| !held_out.contains(i)).map(|i| pictures.image(i)).collect();
    let seen = clip.pictures(&train).unwrap();
    for (d, mean) in prior.mean().into_iter().enumerate() {
        let expected = seen.rows().map(|row| f64::from(row[d])).sum::<f64>() / train.len() as f64;
        assert!((f64::from(mean) - expected).abs() < 1e-5, "{mean} {expected}");
    }

    let said = Model::load(&run, &Device::flex()).err().unwrap();
    assert!(matches!(said, ModelError::OneWay(..)) && said.to_string().contains("makes no pictures"), "{said}");
    assert!(!run.join("samples").is_dir(), "nothing is shown that is no picture");
}

#[test]
fn clips_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (captioned(folder.path(), 10), clip(folder.path(), 3, 16));
    let no = folder.path().join("no");
    assert!(refused(config_of(&data, None, &[]), &no).contains("condition.words.encoder=CLIP"));
    let wide = clip(folder.path(), 3, 32);
    let said = refused(config_of(&data, Some(&wide), &[]), &no);
    assert!(said.contains("32 and 16 numbers") && said.contains("hidden_size"), "{said}");
    let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frozen/clip");
    let said = refused(config_of(&data, Some(&words), &[]), &no);
    assert!(said.contains("holds no CLIP") && said.contains("image_encoder"), "{said}");
    let said = refused(config_of(&data, Some(&path), &["codec.kind=pixels"]), &no);
    assert!(said.contains("network.kind = \"prior\"") && said.contains("codec.kind"), "{said}");

    let run = folder.path().join("run");
    finish(create(config_of(&data, Some(&path), &["train.images=64"]), &run));
    let other = ClipModel::read(clip(folder.path(), 4, 16), &Device::flex()).unwrap();
    let said = Prior::load(&run, &Device::flex()).unwrap().check(&other).unwrap_err();
    assert!(matches!(said, PriorError::OtherClip(_)), "{said}");
    let pictures = folder.path().join("pictures");
    finish(create(config(&data, &["train.images=8", "condition=none"]), &pictures));
    assert!(matches!(Prior::load(&pictures, &Device::flex()), Err(PriorError::None(_))));
}
