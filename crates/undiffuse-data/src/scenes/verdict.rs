//! Whether a picture shows what its caption says.

use super::{Found, Object, Relation, Scene};

/// What of a picture is as its caption says. The objects that were found are those that are told of, in whichever order fits;
/// nothing is right where there are more or fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The shapes are those that are told of.
    pub shapes: bool,
    /// The colours are those that are told of.
    pub colours: bool,
    /// Each shape has its colour.
    pub objects: bool,
    /// Each shape has its colour and its size.
    pub sizes: bool,
    /// Each shape has its colour, and they lie as is told. `None` for one object.
    pub relation: Option<bool>,
    /// Everything is.
    pub all: bool,
}

impl Verdict {
    /// Compares a scene with what was found in a picture.
    pub fn new(scene: &Scene, found: &[Found]) -> Verdict {
        let (objects, relation) = (scene.objects(), relation(scene));
        let mut verdict = Verdict { relation: relation.map(|_| false), ..Verdict::default() };
        if found.len() != objects.len() {
            return verdict;
        }
        let swapped: Vec<Found> = found.iter().rev().copied().collect();
        for found in [found, &swapped] {
            let each = |fits: fn(&Object, &Found) -> bool| objects.iter().zip(found).all(|(a, b)| fits(a, b));
            let shapes = each(|object, found| found.shape == Some(object.shape));
            let colours = each(|object, found| found.colour == Some(object.colour));
            let sizes = shapes && colours && each(|object, found| found.size == object.size);
            let lie = relation.map(|told| shapes && colours && Relation::between(found[0].at, found[1].at) == told);
            verdict.shapes |= shapes;
            verdict.colours |= colours;
            verdict.objects |= shapes && colours;
            verdict.sizes |= sizes;
            verdict.relation = verdict.relation.zip(lie).map(|(a, b)| a || b);
            verdict.all |= sizes && lie != Some(false);
        }
        verdict
    }
}

fn relation(scene: &Scene) -> Option<Relation> {
    match scene {
        Scene::One(_) => None,
        Scene::Two(_, relation, _) => Some(*relation),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Colour, Shape, Size};
    use super::*;

    const CIRCLE: Object = Object { shape: Shape::Circle, colour: Colour::Red, size: Size::Small };
    const RING: Object = Object { shape: Shape::Ring, colour: Colour::Blue, size: Size::Large };

    fn found(object: Object, at: [f64; 2]) -> Found {
        Found { shape: Some(object.shape), colour: Some(object.colour), size: object.size, at }
    }

    #[test]
    fn what_is_right_and_what_is_wrong() {
        let scene = Scene::Two(CIRCLE, Relation::Left, RING);
        let (circle, ring) = (found(CIRCLE, [0.2, 0.5]), found(RING, [0.7, 0.4]));
        let right =
            Verdict { shapes: true, colours: true, objects: true, sizes: true, relation: Some(true), all: true };
        assert_eq!(Verdict::new(&scene, &[circle, ring]), right);
        assert_eq!(Verdict::new(&scene, &[ring, circle]), right);
        assert_eq!(Verdict::new(&Scene::Two(RING, Relation::Right, CIRCLE), &[circle, ring]), right);
        let wrong = Verdict { relation: Some(false), ..Verdict::default() };
        assert_eq!(Verdict::new(&scene, &[circle]), wrong);
        assert_eq!(Verdict::new(&scene, &[circle, ring, ring]), wrong);
        let elsewhere = Verdict { relation: Some(false), all: false, ..right };
        assert_eq!(Verdict::new(&Scene::Two(CIRCLE, Relation::Above, RING), &[circle, ring]), elsewhere);
        let small = Found { size: Size::Small, ..ring };
        assert_eq!(Verdict::new(&scene, &[circle, small]), Verdict { sizes: false, all: false, ..right });
        // Both colours and both shapes, each with the other's.
        let [a, b] = [Found { colour: ring.colour, ..circle }, Found { colour: circle.colour, ..ring }];
        let crossed = Verdict { shapes: true, colours: true, ..wrong };
        assert_eq!(Verdict::new(&scene, &[a, b]), crossed);
        assert_eq!(Verdict::new(&scene, &[Found { shape: None, ..circle }, ring]), Verdict { colours: true, ..wrong });
    }

    #[test]
    fn one_object_has_no_relation() {
        let verdict = Verdict::new(&Scene::One(CIRCLE), &[found(CIRCLE, [0.5; 2])]);
        assert_eq!((verdict.relation, verdict.all), (None, true));
        assert!(!Verdict::new(&Scene::One(CIRCLE), &[]).all);
        assert!(!Verdict::new(&Scene::One(RING), &[found(CIRCLE, [0.5; 2])]).shapes);
    }
}
