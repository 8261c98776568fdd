//! CLIPs: their folders, and the vectors of texts and pictures.

use undiffuse::burn::tensor::Device;
use undiffuse::clip::ClipModel;
use undiffuse::data::Image;
use undiffuse::nn::networks::clip_vision::CLIPVisionConfig;
use undiffuse::words::WordsConfig;

const TEXTS: [&str; 3] = ["a red circle left of a blue square", "red", ""];

fn small() -> ClipModel {
    let words = WordsConfig { vocabulary: 600, length: 16, width: 16, layers: 2, heads: 2, ..WordsConfig::default() };
    let pictures = CLIPVisionConfig {
        hidden_size: 16,
        intermediate_size: 32,
        projection_dim: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        image_size: 8,
        patch_size: 4,
        ..CLIPVisionConfig::default()
    };
    ClipModel::untrained(&words, &pictures, &TEXTS, 3, &Device::flex()).unwrap()
}

/// Pictures of several sizes, grey and coloured.
fn pictures() -> Vec<Image> {
    let of = |(width, height, channels): (usize, usize, usize)| {
        Image::new(width, height, channels, (0..width * height * channels).map(|i| (i * 37 % 251) as u8).collect())
    };
    [(8, 8, 3), (30, 17, 3), (5, 9, 1), (8, 8, 4)].map(of).to_vec()
}

/// Vectors and states are the same bits read back from a folder, alone and among others.
#[test]
fn a_folder_has_the_same_vectors() {
    let (made, place) = (small(), tempfile::tempdir().unwrap());
    let path = place.path().join("clip");
    made.save(&path).unwrap();
    made.save(&path).unwrap();
    let read = ClipModel::read(&path, &Device::flex()).unwrap();
    assert_eq!((read.width(), read.picture_shape(), read.card.contrast), (12, [3, 8, 8], made.card.contrast));
    let (texts, pictures) = (read.texts(&TEXTS).unwrap(), pictures());
    let seen = read.pictures(&pictures).unwrap();
    assert_eq!((&texts, &seen), (&made.texts(&TEXTS).unwrap(), &made.pictures(&pictures).unwrap()));
    let states = read.states(&TEXTS).unwrap();
    assert_eq!((&states.vectors, states.hidden.len()), (&texts, 3 * states.length * states.width));
    let counted: Vec<usize> = states.mask.chunks(states.length).map(|m| m.iter().filter(|m| **m).count()).collect();
    assert!(counted[0] > counted[1] && counted[1] > 2 && counted[2] == 2, "{counted:?}");
    for (i, (text, picture)) in TEXTS.iter().zip(&pictures).enumerate() {
        assert_eq!(read.texts(&[text]).unwrap().row(0), texts.row(i));
        assert_eq!(read.pictures(std::slice::from_ref(picture)).unwrap().row(0), seen.row(i));
    }
    let unit = seen.unit();
    assert!(unit.rows().all(|row| (row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-6));
    assert!((unit.cosine(0, seen.row(0)) - 1.0).abs() < 1e-6);
}
