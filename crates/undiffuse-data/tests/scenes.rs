//! Scenes: made, read back, and told from what they are not.

use std::fs;
use std::path::Path;

use undiffuse_data::scenes::{
    Checker, Colour, Found, Group, Making, Object, PROMPTS, Placed, Relation, Scene, Shape, Size, Verdict, draw, make,
    random,
};
use undiffuse_data::{Cache, Dataset, Image, Options};

const MAKING: Making = Making { n: 40, seed: 3, side: 32, held_out: false };

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut files: Vec<_> = entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

fn verdict(scene: &Scene, found: &[Found]) -> Verdict {
    Verdict::new(scene, found)
}

#[test]
fn a_folder_is_the_same_whenever_it_is_made_and_a_dataset_with_three_captions() {
    let place = tempfile::tempdir().unwrap();
    let (one, more) = (place.path().join("one"), place.path().join("more"));
    make(&one, &MAKING).unwrap();
    make(&more, &Making { n: 60, ..MAKING }).unwrap();
    let (few, many) = (files(&one), files(&more));
    assert_eq!(few.len(), 42);
    assert_eq!(few[..40], many[..40]);
    let lines = |files: &[(String, Vec<u8>)], name: &str| {
        let file = files.iter().find(|(file, _)| file == name).unwrap();
        String::from_utf8(file.1.clone()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&few, "metadata.jsonl"), lines(&many, "metadata.jsonl")[..40]);
    let data = Dataset::open(&one, &Options { cache: Cache::Off, ..Options::default() }).unwrap();
    assert_eq!((data.len(), data.width(), data.channels(), data.ignored()), (40, 32, 3, 1));
    for (k, prompt) in lines(&few, PROMPTS).iter().enumerate() {
        let (scene, placed) = random(MAKING.seed, k as u64, false);
        assert_eq!(data.captions(k).collect::<Vec<_>>(), scene.captions());
        assert_eq!(*prompt, scene.captions()[k % 3]);
        assert_eq!(data.image(k), draw(&placed, 32));
    }
}

#[test]
fn held_out_scenes_are_never_among_the_others() {
    let place = tempfile::tempdir().unwrap();
    for held_out in [false, true] {
        let folder = place.path().join(held_out.to_string());
        make(&folder, &Making { n: 300, held_out, ..MAKING }).unwrap();
        let prompts = fs::read_to_string(folder.join(PROMPTS)).unwrap();
        let groups: Vec<Group> = prompts.lines().map(|line| Scene::parse(line).unwrap().group()).collect();
        assert!(groups.len() == 300 && groups.iter().all(|group| (*group != Group::Seen) == held_out));
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let refused = |making: Making| make(&place.path().join("x"), &making).unwrap_err().to_string();
    assert!(refused(Making { n: 0, ..MAKING }).contains("`n` = 0: from 1"));
    assert!(refused(Making { side: 16, ..MAKING }).contains("`size` = 16"));
    assert!(!place.path().join("x").exists());
    fs::write(place.path().join("mine.txt"), "x").unwrap();
    let full = make(place.path(), &MAKING).unwrap_err().to_string();
    assert!(full.contains("it holds `mine.txt`, which would be lost"), "{full}");
}

#[test]
fn scenes_of_every_side_are_read() {
    let checker = Checker::new();
    for side in [24, 28, 32, 48, 64, 128] {
        let wrong: Vec<u64> = (0..300)
            .filter(|&k| {
                let (scene, placed) = random(11, k, false);
                !verdict(&scene, &checker.find(&draw(&placed, side))).all
            })
            .collect();
        assert!(wrong.is_empty(), "{side}: {wrong:?}");
    }
}

#[test]
fn objects_are_found_where_they_are() {
    let checker = Checker::new();
    for k in 0..300 {
        let (_, placed) = random(5, k, false);
        let found = checker.find(&draw(&placed, 32));
        for Placed { object, at } in &placed {
            let same = |found: &&Found| found.shape == Some(object.shape) && found.colour == Some(object.colour);
            let found = found.iter().find(same).unwrap();
            let off = (0..2).map(|axis| (at[axis] - found.at[axis]).abs()).fold(0.0, f64::max);
            assert!(off < 0.25 / 32.0, "{k}: {object:?} at {at:?}: {found:?}");
        }
    }
}

/// The picture with its pixels taken from elsewhere: of the pixel in column x and row y from what `from` says.
fn moved(image: &Image, from: impl Fn(usize, usize) -> (usize, usize)) -> Image {
    let mut moved = image.clone();
    for k in 0..image.width * image.height {
        let (x, y) = from(k % image.width, k / image.width);
        moved.pixels[3 * k..3 * k + 3].copy_from_slice(&image.pixels[3 * (y * image.width + x)..][..3]);
    }
    moved
}

#[test]
fn pictures_of_something_else_are_wrong() {
    let checker = Checker::new();
    let read = |scene: &Scene, image: &Image| verdict(scene, &checker.find(image));
    let side = 32;
    for k in 0..300 {
        let (scene, placed) = random(8, k, false);
        let image = draw(&placed, side);
        let mirrored = read(&scene, &moved(&image, |x, y| (side - 1 - x, y)));
        if let Scene::Two(_, relation, _) = scene {
            let level = matches!(relation, Relation::Left | Relation::Right);
            assert_eq!((mirrored.relation, mirrored.sizes), (Some(!level), true), "{scene:?}");
        }
        let upside_down = read(&scene, &moved(&image, |x, y| (x, side - 1 - y)));
        let pointed = scene.objects().iter().any(|object| object.shape == Shape::Triangle);
        assert_eq!((upside_down.shapes, upside_down.colours), (!pointed, true), "{scene:?}");
        let gone = read(&scene, &draw(&placed[1..], side));
        assert_eq!((gone.shapes, gone.colours, gone.all), (false, false, false));
        // Another size, colour or shape of the first object that is drawn.
        let changed = |change: &dyn Fn(&mut Object)| {
            let mut changed = placed.clone();
            change(&mut changed[0].object);
            read(&scene, &draw(&changed, side))
        };
        if placed[0].object.size == Size::Large {
            let smaller = changed(&|object| object.size = Size::Small);
            assert_eq!((smaller.objects, smaller.sizes, smaller.all), (true, false, false), "{scene:?}");
        }
        let other = |colour| if colour == Colour::Orange { Colour::Yellow } else { Colour::Orange };
        let repainted = changed(&|object| object.colour = other(object.colour));
        assert_eq!((repainted.shapes, repainted.colours, repainted.objects), (true, false, false), "{scene:?}");
        let other = |shape| if shape == Shape::Circle { Shape::Square } else { Shape::Circle };
        let reshaped = changed(&|object| object.shape = other(object.shape));
        assert_eq!((reshaped.shapes, reshaped.colours, reshaped.objects), (false, true, false), "{scene:?}");
    }
}

#[test]
fn no_scene_is_found_where_there_is_none() {
    let checker = Checker::new();
    assert_eq!(checker.find(&Image::filled(32, 32, &[128])), []);
    // A field of one colour is no background, and no shape either.
    let red = checker.find(&Image::filled(32, 32, &[225, 35, 35]));
    assert!(red.iter().all(|found| found.shape.is_none()), "{red:?}");
    let object = Object { shape: Shape::Circle, colour: Colour::Red, size: Size::Small };
    let mut odd = draw(&[Placed { object, at: [0.5; 2] }], 32);
    // Red becomes a brown that is none of the eight.
    odd.pixels.chunks_exact_mut(3).filter(|p| p[0] > 200).for_each(|p| p.copy_from_slice(&[100, 20, 120]));
    let found = checker.find(&odd);
    assert_eq!(found.len(), 1);
    let noise = Image::new(32, 32, 3, (0..3072u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    assert!(checker.find(&noise).iter().all(|found| found.shape.is_none()));
}
