//! What is asked of a model, and what its network reads of it.
//!
//! An [`Ask`] is what one picture should show, a [`Cond`] the asks of a batch. They cross samplers, guidance and the
//! service as they are; only a model's [`Conditioner`] knows what they mean to its network.

mod class;
mod none;

pub use class::{Classes, recorded};
pub use none::Nothing;

use std::ops::Deref;
use std::sync::Arc;

use burn::tensor::Device;
use undiffuse_data::Dataset;
use undiffuse_nn::networks::{Condition, Reads};

use crate::model::Card;
use crate::request::RequestError;
use crate::train::DataConfig;

/// What one picture should show.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Ask {
    /// Nothing in particular: what guidance leads away from.
    #[default]
    None,
    /// The class of this label.
    Class(u32),
    /// A vector of numbers, in the units of the data.
    Vector(Arc<[f32]>),
}

/// What each picture of a batch should show; empty where nothing is asked of any, as of models without conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cond(pub Vec<Ask>);

impl Cond {
    /// The same class for every one of `n` pictures.
    pub fn class(label: u32, n: usize) -> Self {
        Self(vec![Ask::Class(label); n])
    }

    /// Pictures that something is said of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is asked of any picture.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The asks of some of the pictures, in this order.
    ///
    /// # Panics
    /// If there is no picture of such a number.
    pub fn select(&self, pictures: impl IntoIterator<Item = usize>) -> Self {
        match self.is_empty() {
            true => Self::default(),
            false => Self(pictures.into_iter().map(|k| self.0[k].clone()).collect()),
        }
    }

    /// The asks of several batches, one after the other: all of them ask for something, or none does.
    pub fn concat<'a>(batches: impl IntoIterator<Item = &'a Self>) -> Self {
        Self(batches.into_iter().flat_map(|batch| batch.0.iter().cloned()).collect())
    }

    /// As many pictures, with nothing asked of any of them.
    pub fn unconditional(&self) -> Self {
        Self(vec![Ask::None; self.len()])
    }
}

impl FromIterator<Ask> for Cond {
    fn from_iter<I: IntoIterator<Item = Ask>>(asks: I) -> Self {
        Self(asks.into_iter().collect())
    }
}

/// The part of a model between what is asked and what its network reads.
pub trait Conditioning {
    /// Whether a picture can be asked for so.
    ///
    /// # Errors
    /// What the model can't take, and what it could.
    fn accepts(&self, ask: &Ask) -> Result<(), RequestError>;

    /// Whether the model has learned to go without, beside what it can be asked for: what guidance needs.
    fn guides(&self) -> bool;

    /// What the network has to read.
    fn reads(&self) -> Reads;

    /// What the network reads for accepted asks `[B]`.
    fn encode(&self, asks: &[Ask], device: &Device) -> Condition;

    /// What takes turns when nothing is asked for; empty where nothing can be asked for.
    fn all(&self) -> Vec<Ask>;

    /// What picture `i` of a dataset shows, in the model's terms; [`Ask::None`] where the model has no word for it.
    fn ask(&self, data: &Dataset, i: usize) -> Ask;

    /// Writes into a model's card what makes this conditioner again.
    fn note(&self, card: &mut Card);

    /// An ask as a person would write it.
    fn print(&self, ask: &Ask) -> String;

    /// The classes of the model: none unless it is asked for those.
    fn classes(&self) -> &Classes {
        const { &Classes::NONE }
    }
}

macro_rules! conditioners {
    ($($variant:ident($type:ty)),+ $(,)?) => {
        /// Every kind of conditioner.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Conditioner {
            $($variant($type),)+
        }

        $(impl From<$type> for Conditioner {
            fn from(conditioner: $type) -> Self {
                Self::$variant(conditioner)
            }
        })+

        impl Deref for Conditioner {
            type Target = dyn Conditioning;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Self::$variant(conditioner) => conditioner,)+
                }
            }
        }
    };
}
conditioners![Nothing(Nothing), Class(Classes)];

impl Default for Conditioner {
    fn default() -> Self {
        Nothing.into()
    }
}

impl Conditioner {
    /// What a card and its network say of what the model can be asked for.
    pub(crate) fn of(card: &Card, reads: Reads) -> Self {
        match reads.classes() {
            0 => Nothing.into(),
            rows => Classes::new(&card.classes, rows, card.null_class).into(),
        }
    }

    /// What a network is told of pictures that it is trained on.
    pub fn for_training(config: &DataConfig, data: &Dataset) -> Self {
        let names = data.classes();
        match config.classes {
            true => Classes::new(names, names.len() + 1, Some(names.len() as u32)).into(),
            false => Nothing.into(),
        }
    }

    /// What each of `n` pictures should show: the asks take turns, all there are where none is given. Empty for models that
    /// can't be asked for anything.
    pub fn turns(&self, asks: Vec<Ask>, n: usize) -> Cond {
        let asks = if asks.is_empty() { self.all() } else { asks };
        asks.iter().cloned().cycle().take(n).collect()
    }
}
