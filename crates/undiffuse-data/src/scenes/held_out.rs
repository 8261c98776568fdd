//! Which scenes models are never trained on.

use sha2::{Digest, Sha256};

use super::{Object, Relation, Scene};

/// One in this many is held out.
const SHARE: u32 = 10;

/// Whether a model that was trained on seen scenes knows one.
///
/// What is held out is decided by words, whatever the sizes: a *pair* is called `one red circle`, a *combination* of two
/// `one red circle left of one blue square` or `one red circle above one blue square` (what is right of or below something is told
/// from the other side, as it is the same picture). It is held out if the SHA-256 of its name in UTF-8, read as a number with the
/// first byte highest, is divisible by 10. In Python:
///
/// ```python
/// int(hashlib.sha256(b"one red square").hexdigest(), 16) % 10 == 0
/// ```
///
/// Of the 48 pairs 5 are held out (red square, yellow diamond, black diamond, black ring, white circle), and of the 4,512
/// combinations 469. A scene with a held-out pair is one of [`NewPair`](Group::NewPair), whatever its combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A scene to train on.
    Seen,
    /// An object in a colour that its shape never has in seen scenes.
    NewPair,
    /// Two objects that are seen, but never so together.
    NewCombination,
}

impl Group {
    /// All of them.
    pub const ALL: &[Group] = &[Group::Seen, Group::NewPair, Group::NewCombination];

    /// What reports call it.
    pub fn word(self) -> &'static str {
        match self {
            Group::Seen => "seen",
            Group::NewPair => "new pair",
            Group::NewCombination => "new combination",
        }
    }
}

impl Scene {
    /// Whether it is held out, and why.
    pub fn group(&self) -> Group {
        if self.objects().iter().any(|object| is_held_out(&pair(object))) {
            return Group::NewPair;
        }
        let combination = |first: &Object, relation: Relation, second: &Object| {
            format!("{} {} {}", pair(first), relation.word(), pair(second))
        };
        let name = match self {
            Scene::One(_) => return Group::Seen,
            Scene::Two(first, relation @ (Relation::Left | Relation::Above), second) => {
                combination(first, *relation, second)
            }
            Scene::Two(first, relation, second) => combination(second, relation.converse(), first),
        };
        if is_held_out(&name) { Group::NewCombination } else { Group::Seen }
    }
}

fn pair(object: &Object) -> String {
    format!("one {} {}", object.colour.word(), object.shape.word())
}

fn is_held_out(name: &str) -> bool {
    Sha256::digest(name).iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % SHARE) == 0
}

#[cfg(test)]
mod tests {
    use super::super::{Colour, Shape, Size};
    use super::*;

    fn objects() -> Vec<Object> {
        let colours = Colour::ALL.iter();
        let pairs = colours.flat_map(|&colour| Shape::ALL.iter().map(move |&shape| (colour, shape)));
        pairs.map(|(colour, shape)| Object { shape, colour, size: Size::Small }).collect()
    }

    /// The counts and names are Python's, by the line in the documentation of [`Group`].
    #[test]
    fn a_tenth_is_held_out() {
        let held: Vec<String> = objects().iter().map(pair).filter(|name| is_held_out(name)).collect();
        let names = ["red square", "yellow diamond", "black diamond", "black ring", "white circle"];
        assert_eq!(held, names.map(|name| format!("one {name}")));
        let mut count = 0;
        for first in &objects() {
            for second in objects().iter().filter(|second| *second != first) {
                for relation in ["left of", "above"] {
                    count += usize::from(is_held_out(&format!("{} {relation} {}", pair(first), pair(second))));
                }
            }
        }
        assert_eq!(count, 469);
    }

    #[test]
    fn sizes_and_the_side_it_is_told_from_change_nothing() {
        let seen: Vec<Object> =
            objects().into_iter().filter(|&object| Scene::One(object).group() == Group::Seen).collect();
        assert_eq!(seen.len(), 43);
        let mut new = 0;
        for &first in &seen {
            for &second in seen.iter().filter(|second| **second != first) {
                for &relation in Relation::ALL {
                    let group = Scene::Two(first, relation, second).group();
                    assert_eq!(Scene::Two(second, relation.converse(), first).group(), group);
                    let large = Object { size: Size::Large, ..first };
                    assert_eq!(Scene::Two(large, relation, second).group(), group);
                    new += usize::from(group == Group::NewCombination);
                }
            }
        }
        let share = new as f64 / (seen.len() * (seen.len() - 1) * 4) as f64;
        assert!((0.08..0.12).contains(&share), "{share}");
        let square = Object { shape: Shape::Square, colour: Colour::Red, size: Size::Large };
        assert_eq!(Scene::Two(seen[0], Relation::Above, square).group(), Group::NewPair);
    }
}
