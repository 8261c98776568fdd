//! The opened dataset: defaults, cache, batches, division, refusals.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use undiffuse_data::source::{Entry, Memory, Payload};
use undiffuse_data::{
    Cache, DataError, DataReport, Dataset, HeldOut, Image, OpeningStage, Options, contact_sheet, encode_png,
};

fn colour(width: usize, height: usize, seed: usize) -> Image {
    let pixels = (0..width * height * 3).map(|i| ((i + 1) * (2 * seed + 3) * 7 % 251) as u8).collect();
    Image::new(width, height, 3, pixels)
}

fn memory(images: Vec<Image>, options: &Options) -> Result<Dataset, DataError> {
    Dataset::from_source("memory", &mut Memory::from_images(images, &[]), options)
}

fn folder_of(images: &[Image]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (i, image) in images.iter().enumerate() {
        fs::write(folder.path().join(format!("{i:03}.png")), encode_png(image, &[]).unwrap()).unwrap();
    }
    folder
}

fn cached(folder: &Path) -> Options {
    Options { cache: Cache::Dir(folder.to_path_buf()), ..Options::default() }
}

#[test]
fn the_default_size() {
    let sizes = |sizes: &[(usize, usize)]| {
        let images = sizes.iter().enumerate().map(|(i, &(w, h))| colour(w, h, i)).collect();
        memory(images, &Options::default()).unwrap().width()
    };
    assert_eq!(sizes(&[(28, 28), (28, 28)]), 28);
    assert_eq!(sizes(&[(64, 64), (64, 64)]), 64);
    assert_eq!(sizes(&[(28, 28), (32, 32)]), 32);
    assert_eq!(sizes(&[(48, 64), (48, 64)]), 32);
    assert_eq!(sizes(&[(72, 72), (72, 72)]), 32);
    assert_eq!(sizes(&[(30, 30), (30, 30)]), 32);
}

#[test]
fn measuring_files_gives_the_same_default() {
    let same = folder_of(&[colour(12, 12, 0), colour(12, 12, 1), colour(12, 12, 2)]);
    fs::write(same.path().join("broken.png"), b"x").unwrap();
    let dataset = Dataset::open(same.path(), &Options { cache: Cache::Off, ..Options::default() }).unwrap();
    assert_eq!((dataset.width(), dataset.len(), dataset.skipped().len()), (12, 3, 1));
}

#[test]
fn channels_are_found_and_overridden() {
    let grey = |i: usize| Image::new(8, 8, 3, colour(8, 8, i).to_grey().to_rgb().pixels);
    let greys = || (0..300).map(grey).collect::<Vec<_>>();
    let with = |channels| Options { channels, ..Options::default() };
    assert_eq!(memory(greys(), &with(None)).unwrap().channels(), 1);
    assert_eq!(memory(greys(), &with(Some(3))).unwrap().channels(), 3);
    // The first picture in colour comes after a whole chunk of grey ones.
    let mixed = || greys().into_iter().chain([colour(8, 8, 1)]).collect::<Vec<_>>();
    let automatic = memory(mixed(), &with(None)).unwrap();
    let forced = memory(mixed(), &with(Some(3))).unwrap();
    assert_eq!(automatic.channels(), 3);
    assert_eq!(automatic.fingerprint(), forced.fingerprint());
    assert_eq!(automatic.image(299), grey(299));
    assert_eq!(automatic.image(300), colour(8, 8, 1));
    let one = memory(mixed(), &with(Some(1))).unwrap();
    assert_eq!(one.image(300), colour(8, 8, 1).to_grey());
    // The same on the way through a cache file.
    let (data, cache) = (folder_of(&mixed()), tempfile::tempdir().unwrap());
    let on_disk = Dataset::open(data.path(), &cached(cache.path())).unwrap();
    assert!(on_disk.cache_file().is_some());
    assert_eq!(on_disk.fingerprint(), forced.fingerprint());
}

#[test]
fn the_cache_is_used_checked_and_renewed() {
    let images: Vec<_> = (0..5).map(|i| colour(8, 8, i)).collect();
    let (data, cache) = (folder_of(&images), tempfile::tempdir().unwrap());
    let options = cached(&cache.path().join("made/when/missing"));
    let open = || Dataset::open(data.path(), &options).unwrap();
    let first = open();
    let file = first.cache_file().unwrap().to_path_buf();
    assert!(!first.is_from_cache() && open().is_from_cache());
    assert_eq!(open().fingerprint(), first.fingerprint());
    assert_eq!(open().image(3), images[3]);

    let whole = fs::read(&file).unwrap();
    type Damage = fn(&mut Vec<u8>);
    let damage: [Damage; 6] = [
        |b| b.truncate(b.len() - 1),
        |b| b.truncate(b.len() / 2),
        |b| b.clear(),
        |b| b[0] ^= 1,
        |b| b[100] ^= 1,
        |b| {
            let at = b.len() - 40;
            b[at] ^= 1;
        },
    ];
    for (i, damage) in damage.iter().enumerate() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        // A new file, as a mapped one must not change under its readers.
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        let again = open();
        assert!(!again.is_from_cache(), "damage {i} went unnoticed");
        assert_eq!(again.fingerprint(), first.fingerprint());
        assert_eq!(fs::read(&file).unwrap(), whole);
    }

    // Other options have a file of their own; a changed folder replaces the old file.
    let small = Dataset::open(data.path(), &Options { size: Some(4), ..options.clone() }).unwrap();
    assert_ne!(small.cache_file(), Some(&*file));
    fs::write(data.path().join("new.png"), encode_png(&colour(8, 8, 9), &[]).unwrap()).unwrap();
    let grown = open();
    assert!(!grown.is_from_cache() && grown.len() == 6 && grown.cache_file() == Some(&*file));
    assert_ne!(grown.fingerprint(), first.fingerprint());
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);
    // The old map is still whole.
    assert_eq!(first.image(4), images[4]);
}

#[test]
fn strict_and_flip_do_not_need_a_new_cache() {
    let (data, cache) = (folder_of(&[colour(8, 8, 0), colour(8, 8, 1)]), tempfile::tempdir().unwrap());
    fs::write(data.path().join("bad.png"), b"x").unwrap();
    let options = cached(cache.path());
    Dataset::open(data.path(), &options).unwrap();
    let flipped = Dataset::open(data.path(), &Options { flip: true, ..options.clone() }).unwrap();
    assert!(flipped.is_from_cache() && flipped.flip());
    let strict = Dataset::open(data.path(), &Options { strict: true, ..options }).unwrap_err();
    assert!(matches!(strict, DataError::Strict { count: 1, .. }), "{strict}");
}

#[test]
fn without_a_writable_cache_pixels_stay_in_memory() {
    let (data, cache) = (folder_of(&[colour(8, 8, 0), colour(8, 8, 1)]), tempfile::tempdir().unwrap());
    // A file where the folder should be stops even an administrator.
    let blocked = cache.path().join("file");
    fs::write(&blocked, b"").unwrap();
    let dataset = Dataset::open(data.path(), &cached(&blocked)).unwrap();
    assert!(dataset.cache_file().is_none());
    assert!(dataset.warnings()[0].contains("cannot be written"), "{:?}", dataset.warnings());
    let saved = Dataset::open(data.path(), &cached(cache.path())).unwrap();
    assert_eq!(saved.fingerprint(), dataset.fingerprint());
}

#[test]
fn progress_is_told_while_decoding_only() {
    let images: Vec<_> = (0..600).map(|i| colour(4, 4, i)).collect();
    let (data, cache) = (folder_of(&images), tempfile::tempdir().unwrap());
    let mut seen = Vec::new();
    Dataset::open_with(data.path(), &cached(cache.path()), &mut |p| seen.push(p)).unwrap();
    assert_eq!(seen.first().unwrap().stage, OpeningStage::Measuring);
    let last = seen.last().unwrap();
    assert_eq!((last.stage, last.done, last.total), (OpeningStage::Decoding, 600, Some(600)));
    seen.clear();
    Dataset::open_with(data.path(), &cached(cache.path()), &mut |p| seen.push(p)).unwrap();
    assert!(seen.is_empty());
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let message = |images: Vec<Image>| memory(images, &Options::default()).unwrap_err().to_string();
    let one = message(vec![colour(8, 8, 0)]);
    assert!(one.contains("only one usable image in memory (00000)"), "{one}");
    let same = message(vec![colour(8, 8, 0); 3]);
    assert!(same.contains("all 3 images in memory are identical"), "{same}");
    let dots = message(vec![colour(1, 1, 0), colour(1, 1, 1)]);
    assert!(dots.contains("every image in memory is 1x1 pixel (2 in all)"), "{dots}");
    let empty = message(vec![]);
    assert!(empty.contains("no images in memory: looked for PNG, JPEG"), "{empty}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), b"").unwrap();
    let options = Options { cache: Cache::Off, ..Options::default() };
    let text = Dataset::open(folder.path(), &options).unwrap_err().to_string();
    assert!(text.contains("and found one file of another kind"), "{text}");
    for i in 0..5 {
        fs::write(folder.path().join(format!("{i}.png")), b"x").unwrap();
    }
    let text = Dataset::open(folder.path(), &options).unwrap_err().to_string();
    assert!(
        text.starts_with("no usable image in") && text.contains("tried 5") && text.contains("  0.png: not an image"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 4);
    fs::write(folder.path().join("5.png"), encode_png(&colour(8, 8, 0), &[]).unwrap()).unwrap();
    let text = Dataset::open(folder.path(), &options).unwrap_err().to_string();
    assert!(text.contains("5.png; 5 could not be decoded"), "{text}");
}

#[test]
fn wrong_options_are_refused_by_name() {
    for (options, name) in [
        (Options { size: Some(1), ..Options::default() }, "size"),
        (Options { size: Some(100_000), ..Options::default() }, "size"),
        (Options { channels: Some(2), ..Options::default() }, "channels"),
    ] {
        let text = memory(vec![], &options).unwrap_err().to_string();
        assert!(text.contains(&format!("`{name}`")), "{text}");
    }
    assert!(serde_json::from_str::<Options>("{\"sise\": 3}").is_err());
    let parsed: Options = serde_json::from_str("{\"size\": 32, \"cache\": {\"dir\": \"/x\"}, \"flip\": true}").unwrap();
    assert_eq!(parsed.cache, Cache::Dir(PathBuf::from("/x")));
}

#[test]
fn five_pictures_work_with_a_warning() {
    let dataset = memory((0..5).map(|i| colour(16, 16, i)).collect(), &Options::default()).unwrap();
    assert!(dataset.warnings()[0].starts_with("only 5 images"));
    assert!(dataset.split(HeldOut::Fraction(0.05), 0).held_out.is_empty());
}

#[test]
fn pixels_that_a_program_holds_may_have_alpha() {
    let entry = |name: &str, image| Entry {
        name: name.into(),
        payload: Payload::Pixels(image, "mine"),
        label: Some(name.into()),
        captions: Vec::new(),
    };
    let entries =
        vec![entry("b", Image::filled(4, 4, &[0, 0, 0, 0])), entry("a", Image::filled(4, 4, &[9, 9, 9, 255]))];
    let mut source = Memory::new(entries.clone());
    let dataset = Dataset::from_source("x", &mut source, &Options::default()).unwrap();
    assert_eq!((dataset.pixels(0)[0], dataset.pixels(1)[0], dataset.channels()), (255, 9, 1));
    assert_eq!((dataset.classes(), dataset.label(0)), (&["a".to_string(), "b".to_string()][..], Some(1)));
    let mut source = Memory::new(entries).with_classes(vec!["b".into(), "unused".into(), "a".into()]);
    let dataset = Dataset::from_source("x", &mut source, &Options::default()).unwrap();
    assert_eq!((dataset.classes().len(), dataset.label(0), dataset.label(1)), (3, Some(0), Some(2)));
}

#[test]
fn the_report_finds_what_is_wrong() {
    let mut images: Vec<_> = (0..30).map(|i| colour(16, 16, i)).collect();
    images[7] = images[3].clone();
    images[8] = colour(60, 16, 8);
    let labels: Vec<&str> = (0..30).map(|i| if i == 5 { "rare" } else { "common" }).collect();
    let mut source = Memory::from_images(images, &labels);
    let options = Options { size: Some(24), ..Options::default() };
    let dataset = Dataset::from_source("mine", &mut source, &options).unwrap();
    let report = DataReport::new(&dataset);
    assert_eq!((report.widths.min, report.widths.median, report.widths.max), (16, 16, 60));
    assert_eq!(report.duplicates, [["00003", "00007"]]);
    let text = report.to_string();
    let expected = [
        "images       30",
        "24x24 RGB",
        "29  common",
        "1  rare",
        "1 exact copies: 00003 = 00007",
        "only 30 images",
        "smaller than 24x24 and enlarged: 30 of 30 images",
        "more than twice as long as wide: 1 of 30 images",
        "`common` has 29 images, `rare` has 1",
        "1 image repeated exactly",
    ];
    expected.iter().for_each(|e| assert!(text.contains(e), "`{e}` is not in:\n{text}"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["classes"][0]["name"], "common");
    // A quarter of all values of each channel, computed the long way.
    let mean =
        (0..30).flat_map(|i| dataset.pixels(i).iter().step_by(3)).map(|&v| v as f64).sum::<f64>() / (30.0 * 576.0);
    assert!((report.statistics[0].mean - mean).abs() < 1e-9);
    let sheet = contact_sheet(&dataset);
    assert_eq!((sheet.channels, sheet.height), (3, 2 * (48 + 2) + 2));
}

#[test]
fn a_split_is_stable() {
    let dataset = |n: usize| memory((0..n).map(|i| colour(4, 4, i)).collect(), &Options::default()).unwrap();
    let (small, large) = (dataset(200), dataset(220));
    let a = small.split(HeldOut::Fraction(0.1), 7);
    assert_eq!((a.train.len(), a.held_out.len()), (180, 20));
    assert_eq!(a, small.split(HeldOut::Count(20), 7));
    assert_ne!(a, small.split(HeldOut::Count(20), 8));
    let mut all: Vec<_> = a.train.iter().chain(&a.held_out).copied().collect();
    all.sort();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
    let b = large.split(HeldOut::Fraction(0.1), 7);
    assert!(
        a.held_out.iter().filter(|i| b.held_out.contains(i)).count() >= 17,
        "adding pictures reshuffled the old ones"
    );
    assert_eq!(small.split(HeldOut::Count(1000), 7).held_out.len(), 100);
}

#[test]
fn abandoned_temporary_files_are_removed() {
    let (data, cache) = (folder_of(&[colour(8, 8, 0), colour(8, 8, 1)]), tempfile::tempdir().unwrap());
    let put = |name: &str, days: u64| {
        let file = fs::File::create(cache.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400)).unwrap();
    };
    put(".building-old.tmp", 2);
    put(".building-new.tmp", 0);
    put("other", 9);
    Dataset::open(data.path(), &cached(cache.path())).unwrap();
    let left = |name: &str| cache.path().join(name).exists();
    assert_eq!([".building-old.tmp", ".building-new.tmp", "other"].map(left), [false, true, true]);
}

#[test]
fn a_dataset_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Dataset>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_follow_the_formula(
        grey in any::<bool>(),
        picks in prop::collection::vec((0usize..6, any::<bool>()), 0..9),
    ) {
        let images = (0..6).map(|i| if grey { colour(4, 4, i).to_grey() } else { colour(4, 4, i) }).collect();
        let dataset = memory(images, &Options::default()).unwrap();
        let (indices, flips): (Vec<_>, Vec<_>) = picks.into_iter().unzip();
        let mut out = vec![9.0; 3];
        dataset.batch(&indices, &flips, &mut out);
        let channels = dataset.channels();
        prop_assert_eq!(channels, if grey { 1 } else { 3 });
        prop_assert_eq!(out.len(), indices.len() * channels * 16);
        for (b, (&i, &flip)) in indices.iter().zip(&flips).enumerate() {
            for (c, y, x) in (0..channels).flat_map(|c| (0..16).map(move |p| (c, p / 4, p % 4))) {
                let source = if flip { 3 - x } else { x };
                let expected = dataset.image(i).pixel(source, y)[c] as f64 / 127.5 - 1.0;
                let got = out[((b * channels + c) * 4 + y) * 4 + x] as f64;
                prop_assert!((got - expected).abs() < 1e-6 && (-1.0..=1.0).contains(&got));
            }
            // And back again.
            let size = channels * 16;
            let back = Image::from_chw(4, 4, channels, &out[b * size..(b + 1) * size]);
            prop_assert_eq!(if flip { back.flip() } else { back }, dataset.image(i));
        }
    }
}

#[test]
fn what_has_no_room_is_refused_before_it_is_begun() {
    // A header that promises four thousand million pictures.
    let folder = tempfile::tempdir().unwrap();
    let header = [&[0, 0, 8, 3][..], &u32::MAX.to_be_bytes(), &28u32.to_be_bytes(), &28u32.to_be_bytes()].concat();
    fs::write(folder.path().join("x-images-idx3-ubyte"), header).unwrap();
    for cache in [Cache::Off, Cache::Dir(folder.path().join("cache"))] {
        let options = Options { size: Some(4096), cache, ..Options::default() };
        let text = Dataset::open(folder.path(), &options).unwrap_err().to_string();
        assert!(text.contains("4294967295 images of 4096x4096 pixels take 72 PB or more"), "{text}");
    }
}
