//! Pictures of one or two coloured shapes with captions that are exactly true, and a reader that names what is in such a picture: so
//! whether a model does what words say can be counted.
//!
//! ```text
//! seed, index → Scene → captions in three wordings → parse → Scene
//!                 ↓                                            ↓
//!              placed → draw → picture → Checker → found → Verdict
//! ```
//! A fixed part of the scenes is held out of what models are trained on: see [`Group`].

mod check;
mod draw;
mod folder;
mod held_out;
mod random;
mod verdict;
mod words;

pub use check::{Checker, Found};
pub use draw::{SIDES, draw};
pub use folder::{Making, MakingError, PROMPTS, make};
pub use held_out::Group;
pub use random::random;
pub use verdict::Verdict;

/// A kind of things that have words.
macro_rules! named {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $what:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $what])+ $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// What captions call it.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }
    };
}

named! {
    /// The outline of an object.
    Shape {
        /// A disc.
        Circle = "circle",
        /// Upright.
        Square = "square",
        /// With its tip above.
        Triangle = "triangle",
        /// A square on its corner.
        Diamond = "diamond",
        /// Two bars, upright and level.
        Cross = "cross",
        /// A disc with a hole.
        Ring = "ring",
    }
}

named! {
    /// The colour of an object.
    Colour {
        /// #e12323
        Red = "red",
        /// #fa820f
        Orange = "orange",
        /// #fae628
        Yellow = "yellow",
        /// #1ea03c
        Green = "green",
        /// #2850e1
        Blue = "blue",
        /// #9b32b9
        Purple = "purple",
        /// #0f0f0f
        Black = "black",
        /// #fafafa
        White = "white",
    }
}

named! {
    /// The size of an object.
    Size {
        /// 0.23 of the picture's side.
        Small = "small",
        /// 0.38 of the picture's side.
        Large = "large",
    }
}

named! {
    /// Where the first of two objects is, seen from the second.
    Relation {
        /// To the left.
        Left = "left of",
        /// To the right.
        Right = "right of",
        /// Higher up.
        Above = "above",
        /// Lower down.
        Below = "below",
    }
}

impl Relation {
    /// The relation of the second to the first.
    pub fn converse(self) -> Relation {
        match self {
            Relation::Left => Relation::Right,
            Relation::Right => Relation::Left,
            Relation::Above => Relation::Below,
            Relation::Below => Relation::Above,
        }
    }

    /// How something at `a` lies to something at `b` (x to the right, y down): along the axis on which they are further apart.
    pub fn between(a: [f64; 2], b: [f64; 2]) -> Relation {
        let [x, y] = [b[0] - a[0], b[1] - a[1]];
        match (x.abs() > y.abs(), x > 0.0, y > 0.0) {
            (true, true, _) => Relation::Left,
            (true, false, _) => Relation::Right,
            (false, _, true) => Relation::Above,
            (false, _, false) => Relation::Below,
        }
    }
}

/// A shape in a colour and a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its outline.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its size.
    pub size: Size,
}

/// What a picture shows, as far as captions say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// An object somewhere.
    One(Object),
    /// Two objects, of which the first is left of, right of, above or below the second.
    Two(Object, Relation, Object),
}

impl Scene {
    /// Its objects, in the order of its first wording.
    pub fn objects(&self) -> Vec<Object> {
        match *self {
            Scene::One(object) => vec![object],
            Scene::Two(first, _, second) => vec![first, second],
        }
    }
}

/// An object and where its middle is, in sides of the picture from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// What.
    pub object: Object,
    /// Where: x to the right, y down.
    pub at: [f64; 2],
}
