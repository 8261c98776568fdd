//! Scenes at random.

use undiffuse_math::noise;

use super::{Colour, Group, Object, Placed, Relation, Scene, Shape, Size};

/// The share of scenes with one object.
const ONE: f64 = 0.25;
/// What is left free along the edges of a picture, and between two objects, in sides of it.
const MARGIN: f64 = 1.0 / 32.0;
const GAP: f64 = 3.0 / 32.0;
/// The most by which two objects differ across their relation, as a share of the distance along it.
const ASKEW: f64 = 0.5;

/// Random numbers of one picture: the seed is Philox's key, the picture's index and the number of the draw its counter.
struct Draws {
    seed: u64,
    index: u64,
    next: u64,
}

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.next += 1;
        noise::uniform(self.seed, self.next, self.index)
    }

    /// Between two numbers.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        self.next += 1;
        all[noise::below(self.seed, self.next, self.index, all.len() as u64) as usize]
    }

    fn object(&mut self) -> Object {
        Object { shape: self.one(Shape::ALL), colour: self.one(Colour::ALL), size: self.one(Size::ALL) }
    }

    /// Two objects differ in shape or colour: captions could not tell them apart otherwise.
    fn scene(&mut self, one: bool) -> Scene {
        let first = self.object();
        if one {
            return Scene::One(first);
        }
        let relation = self.one(Relation::ALL);
        loop {
            let second = self.object();
            if (second.shape, second.colour) != (first.shape, first.colour) {
                return Scene::Two(first, relation, second);
            }
        }
    }

    /// Somewhere within the margins.
    fn anywhere(&mut self, object: Object) -> f64 {
        let edge = MARGIN + object.size.radius();
        self.between(edge, 1.0 - edge)
    }

    fn place(&mut self, scene: &Scene) -> Vec<Placed> {
        let (first, relation, second) = match *scene {
            Scene::One(object) => {
                let at = [self.anywhere(object), self.anywhere(object)];
                return vec![Placed { object, at }];
            }
            Scene::Two(first, relation, second) => (first, relation, second),
        };
        let (near, far) = match relation {
            Relation::Left | Relation::Above => (first, second),
            Relation::Right | Relation::Below => (second, first),
        };
        // Along the relation: what is free is before, between and behind the two.
        let (near_radius, far_radius) = (near.size.radius(), far.size.radius());
        let free = 1.0 - 2.0 * MARGIN - GAP - 2.0 * (near_radius + far_radius);
        let (a, b) = (self.between(0.0, free), self.between(0.0, free));
        let along_near = MARGIN + near_radius + a.min(b);
        let along_far = MARGIN + 2.0 * near_radius + GAP + far_radius + a.max(b);
        // Across it.
        let across_near = self.anywhere(near);
        let (most, edge) = (ASKEW * (along_far - along_near), MARGIN + far_radius);
        let across_far = self.between((across_near - most).max(edge), (across_near + most).min(1.0 - edge));
        let at = |along: f64, across: f64| match relation {
            Relation::Left | Relation::Right => [along, across],
            Relation::Above | Relation::Below => [across, along],
        };
        vec![
            Placed { object: near, at: at(along_near, across_near) },
            Placed { object: far, at: at(along_far, across_far) },
        ]
    }
}

/// Scene number `index` of a seed, seen or held out, and where its objects are. A quarter has one object. It depends on nothing but
/// the three: Philox4x32-10 keyed by `(seed, index)`.
pub fn random(seed: u64, index: u64, held_out: bool) -> (Scene, Vec<Placed>) {
    let mut draws = Draws { seed, index, next: 0 };
    let one = draws.uniform() < ONE;
    loop {
        let scene = draws.scene(one);
        if held_out == (scene.group() != Group::Seen) {
            let placed = draws.place(&scene);
            return (scene, placed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_as_they_are_said_to_be() {
        let mut groups = std::collections::BTreeMap::new();
        let (mut ones, n) = (0, 4000);
        for index in 0..n {
            let held_out = index % 2 == 1;
            let (scene, placed) = random(7, index, held_out);
            *groups.entry(scene.group()).or_insert(0) += 1;
            assert_eq!(scene.group() != Group::Seen, held_out);
            for Placed { object, at } in &placed {
                let edge = MARGIN + object.size.radius() - 1e-9;
                assert!(at.iter().all(|at| (edge..=1.0 - edge).contains(at)), "{scene:?} {placed:?}");
            }
            let Scene::Two(first, relation, second) = scene else {
                ones += 1;
                continue;
            };
            let at = |object: Object| placed.iter().find(|placed| placed.object == object).unwrap().at;
            let (a, b) = (at(first), at(second));
            assert_eq!(Relation::between(a, b), relation);
            let (x, y) = ((a[0] - b[0]).abs(), (a[1] - b[1]).abs());
            let reach = first.size.radius() + second.size.radius();
            assert!(x.max(y) >= reach + GAP - 1e-9 && x.min(y) <= ASKEW * x.max(y) + 1e-9, "{scene:?} {placed:?}");
        }
        assert!((900..1100).contains(&ones), "{ones}");
        assert_eq!(groups[&Group::Seen], n / 2);
        assert!(groups[&Group::NewPair] > 700 && groups[&Group::NewCombination] > 200, "{groups:?}");
    }

    #[test]
    fn every_value_is_drawn_as_often() {
        let mut counts = std::collections::BTreeMap::new();
        let mut count = |word: &'static str| *counts.entry(word).or_insert(0) += 1;
        for index in 0..8000 {
            let (scene, _) = random(3, index, false);
            scene.objects().iter().for_each(|object| {
                count(object.size.word());
                count(object.shape.word());
            });
            if let Scene::Two(_, relation, _) = scene {
                count(relation.word());
            }
        }
        // 14,000 objects in 6,000 pairs; shapes of which a pair is held out are seen less.
        let expected = [("small", 7000, 300), ("left of", 1500, 150), ("below", 1500, 150), ("triangle", 2500, 250)];
        for (word, count, off) in expected {
            assert!((count - off..count + off).contains(&counts[word]), "{counts:?}");
        }
    }

    #[test]
    fn seeds_and_indices_differ() {
        let placed = |seed, index| random(seed, index, false).1;
        assert_eq!(placed(1, 2), placed(1, 2));
        assert_ne!(placed(1, 2), placed(1, 3));
        assert_ne!(placed(1, 2), placed(2, 2));
    }
}
