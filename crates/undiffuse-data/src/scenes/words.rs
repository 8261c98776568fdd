//! Scenes in words, and words as scenes.

use super::{Colour, Object, Relation, Scene, Shape, Size};

/// What stands before and behind the object, for each wording.
const ONE: [[&str; 2]; 3] = [["", ""], ["a picture of ", ""], ["one shape: ", ""]];

/// How two objects are told of: what stands before, between and behind them, and whether the second comes first.
struct Wording {
    parts: [&'static str; 3],
    swapped: bool,
}

const fn as_is(parts: [&'static str; 3]) -> Wording {
    Wording { parts, swapped: false }
}

const fn swapped(parts: [&'static str; 3]) -> Wording {
    Wording { parts, swapped: true }
}

const LEFT: [Wording; 3] = [
    as_is(["", " left of ", ""]),
    swapped(["", " with ", " to its left"]),
    as_is(["two shapes: ", " on the left and ", " on the right"]),
];
const RIGHT: [Wording; 3] = [
    as_is(["", " right of ", ""]),
    swapped(["", " with ", " to its right"]),
    as_is(["two shapes: ", " on the right and ", " on the left"]),
];
const ABOVE: [Wording; 3] = [
    as_is(["", " above ", ""]),
    swapped(["", " with ", " above it"]),
    as_is(["two shapes: ", " at the top and ", " at the bottom"]),
];
const BELOW: [Wording; 3] = [
    as_is(["", " below ", ""]),
    swapped(["", " with ", " below it"]),
    as_is(["two shapes: ", " at the bottom and ", " at the top"]),
];

fn wordings(relation: Relation) -> &'static [Wording; 3] {
    match relation {
        Relation::Left => &LEFT,
        Relation::Right => &RIGHT,
        Relation::Above => &ABOVE,
        Relation::Below => &BELOW,
    }
}

impl Object {
    fn phrase(&self) -> String {
        format!("a {} {} {}", self.size.word(), self.colour.word(), self.shape.word())
    }

    fn parse(phrase: &str) -> Option<Object> {
        let mut words = phrase.split(' ');
        let article = words.next()?;
        let size = named(Size::ALL, Size::word, words.next()?)?;
        let colour = named(Colour::ALL, Colour::word, words.next()?)?;
        let shape = named(Shape::ALL, Shape::word, words.next()?)?;
        (article == "a" && words.next().is_none()).then_some(Object { shape, colour, size })
    }
}

fn named<T: Copy>(all: &[T], word: fn(T) -> &'static str, wanted: &str) -> Option<T> {
    all.iter().copied().find(|&one| word(one) == wanted)
}

impl Scene {
    /// What is to be seen, in each of three wordings.
    pub fn captions(&self) -> [String; 3] {
        match self {
            Scene::One(object) => ONE.map(|[before, behind]| format!("{before}{}{behind}", object.phrase())),
            Scene::Two(first, relation, second) => {
                let (first, second) = (first.phrase(), second.phrase());
                wordings(*relation).each_ref().map(|Wording { parts: [before, between, behind], swapped }| {
                    let [a, b] = if *swapped { [&second, &first] } else { [&first, &second] };
                    format!("{before}{a}{between}{b}{behind}")
                })
            }
        }
    }

    /// The scene that a caption tells of, in any of the three wordings; capitals, repeated blanks and a full stop at the end do not
    /// matter. Nothing for other words.
    pub fn parse(caption: &str) -> Option<Scene> {
        let words: Vec<String> = caption.split_whitespace().map(str::to_lowercase).collect();
        let text = words.join(" ");
        let text = text.strip_suffix('.').unwrap_or(&text);
        let one = |[before, behind]: [&str; 2]| {
            Some(Scene::One(Object::parse(text.strip_prefix(before)?.strip_suffix(behind)?)?))
        };
        let two = |relation: Relation, Wording { parts: [before, between, behind], swapped }: &Wording| {
            let (a, b) = text.strip_prefix(before)?.strip_suffix(behind)?.split_once(between)?;
            let [a, b] = [Object::parse(a)?, Object::parse(b)?];
            Some(if *swapped { Scene::Two(b, relation, a) } else { Scene::Two(a, relation, b) })
        };
        let twos = Relation::ALL.iter().flat_map(|&relation| wordings(relation).iter().map(move |one| (relation, one)));
        let mut all = ONE.into_iter().filter_map(one).chain(twos.filter_map(|(relation, words)| two(relation, words)));
        all.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIRCLE: Object = Object { shape: Shape::Circle, colour: Colour::Red, size: Size::Small };
    const RING: Object = Object { shape: Shape::Ring, colour: Colour::White, size: Size::Large };

    #[test]
    fn scenes_in_words() {
        assert_eq!(
            Scene::Two(CIRCLE, Relation::Left, RING).captions(),
            [
                "a small red circle left of a large white ring",
                "a large white ring with a small red circle to its left",
                "two shapes: a small red circle on the left and a large white ring on the right",
            ]
        );
        assert_eq!(
            Scene::Two(CIRCLE, Relation::Below, RING).captions()[1..],
            [
                "a large white ring with a small red circle below it",
                "two shapes: a small red circle at the bottom and a large white ring at the top",
            ]
        );
        let one = ["a large white ring", "a picture of a large white ring", "one shape: a large white ring"];
        assert_eq!(Scene::One(RING).captions(), one);
    }

    #[test]
    fn every_caption_is_read_as_its_scene() {
        let sizes = Size::ALL.iter().flat_map(|&size| Colour::ALL.iter().map(move |&colour| (size, colour)));
        let objects: Vec<Object> = sizes
            .flat_map(|(size, colour)| Shape::ALL.iter().map(move |&shape| Object { shape, colour, size }))
            .collect();
        assert_eq!(objects.len(), 96);
        let mut scenes: Vec<Scene> = objects.iter().map(|&object| Scene::One(object)).collect();
        for (k, &first) in objects.iter().enumerate() {
            let second = objects[(k * 37 + 5) % objects.len()];
            scenes.extend(Relation::ALL.iter().map(|&relation| Scene::Two(first, relation, second)));
        }
        let mut seen = std::collections::BTreeSet::new();
        for scene in scenes {
            for caption in scene.captions() {
                assert_eq!(Scene::parse(&caption), Some(scene), "{caption}");
                assert!(seen.insert(caption.clone()), "{caption} is said of two scenes");
            }
        }
    }

    #[test]
    fn other_words_are_no_scenes() {
        assert_eq!(Scene::parse("  A  small Red circle. "), Some(Scene::One(CIRCLE)));
        let others = [
            "",
            "a red circle",
            "a small red heart",
            "an small red circle",
            "a small red circle left of",
            "a small red circle near a large white ring",
            "a small red circle with a large white ring",
            "two shapes: a small red circle on the left and a large white ring on the left",
            "a small red circle left of a large white ring above a small red circle",
        ];
        others.iter().for_each(|other| assert_eq!(Scene::parse(other), None, "{other}"));
    }
}
