//! What is asked of a model, and what its network reads of it.
//!
//! An [`Ask`] is what one picture should show, a [`Cond`] the asks of a batch and what else is said of its pictures. They cross samplers, guidance and the
//! service as they are; only a model's [`Conditioner`] knows what they mean to its network, and how people write them.
//!
//! A kind of conditioner is one file and one line in the table here. Its [`Field`] is an option of the command line, a field
//! of requests and of what pictures say of themselves; its [`Conditioning`] is what a model does with it.

mod class;
mod cond;
mod config;
mod embedding;
mod none;
mod picture;
mod small;
mod text;

pub use class::Classes;
pub use cond::{Canvas, Cond};
pub use config::{AUTO, ConditionConfig};
pub use embedding::Embedding;
use none::Nothing;
pub use picture::Pictures;
pub(crate) use picture::is_picture;
pub use small::{Small, SmallConfig, Smalls};
pub use text::Text;
pub(crate) use text::{caption, captions, is_text, masked_length};

use std::ops::Deref;
use std::sync::Arc;

use burn::tensor::Device;
use serde::Serialize;
use serde_json::{Map, Value};
use undiffuse_data::Dataset;
use undiffuse_nn::networks::{Attends, Condition, Io, Reads, Tokens};
use undiffuse_nn::weights::WeightsError;

use crate::card::Card;
use crate::clip::ClipModel;
use crate::words::{Frozen, Reading, Words};

/// What guidance is to lead away from: an option of the command line, a field of requests, and of what pictures say of
/// themselves, in the same words as what is asked for.
pub const NEGATIVE: &str = "negative";

/// A request that the model cannot fulfil.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RequestError {
    /// The part of the request, as the command line's option and the service's JSON both call it.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl RequestError {
    /// A problem with one part of a request.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

/// Whether at least half of the pictures have captions: a title in a stray file makes no model of words.
pub(crate) fn are_captioned(data: &Dataset, pictures: impl ExactSizeIterator<Item = usize>) -> bool {
    let all = pictures.len();
    2 * pictures.filter(|&i| data.captions(i).len() > 0).count() >= all.max(1)
}

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
    /// Words.
    Text(Prompt),
    /// A small picture, to be made large.
    Small(Arc<Small>),
}

/// What is asked for in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// As they were written.
    pub words: Arc<str>,
    /// How they are read.
    pub how: Reading,
}

/// What a dataset tells a model of its pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// SHA-256 (hexadecimal) of what it tells beside what its own fingerprint covers; empty where that is nothing.
    pub fingerprint: String,
    /// What is missing there for the model to be told of every picture, and what there is.
    pub lacking: Option<String>,
}

/// How people ask for something: an option of the command line, a field of requests, and of what pictures say of themselves.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What stands for a value in help.
    pub value: &'static str,
    /// Several of what it names, for people.
    pub plural: &'static str,
    /// A line of help.
    pub help: &'static str,
    /// What else there is to say.
    pub more: &'static str,
    /// What a model says that can't be asked so.
    pub without: &'static str,
    /// The JSON schema of the field of requests, for any model.
    pub schema: fn() -> Value,
    /// The words in the value of a request's field, an ask each; or what it should have been.
    pub words: fn(&Value) -> Result<Vec<String>, String>,
    /// The word in what a picture says of itself.
    pub recorded: fn(&Value) -> Option<String>,
}

/// What a model does with asks.
pub trait Conditioning {
    /// How it is asked; `None` where nothing can be asked.
    fn field(&self) -> Option<&'static Field>;

    /// Whether a picture can be asked for so.
    ///
    /// # Errors
    /// What the model can't take, and what it could.
    fn accepts(&self, ask: &Ask) -> Result<(), RequestError>;

    /// Whether the model has learned to go without, beside what it can be asked for: what guidance needs.
    fn guides(&self) -> bool;

    /// What the network has to read; the width of a vector is the network's.
    fn reads(&self) -> Reads;

    /// The tokens that the network has to attend to; `None` where there are none.
    fn attends(&self) -> Option<Attends> {
        None
    }

    /// Channels that the network reads behind those of what it denoises.
    fn beside(&self) -> usize {
        0
    }

    /// What reads the words that are asked for, where such are.
    fn words(&self) -> Option<&Arc<Words>> {
        None
    }

    /// The CLIP that reads the pictures that are asked with, where such are.
    fn clip(&self) -> Option<&Arc<ClipModel>> {
        None
    }

    /// What a text encoder that learns with the network reads of the asks `[B]`; `None` where [`encode`](Self::encode) is all
    /// there is to it.
    fn tokens(&self, _asks: &[Ask]) -> Option<Tokens> {
        None
    }

    /// What the network reads for accepted asks `[B]`, which it can read [together](Self::together).
    fn encode(&self, asks: &[Ask], device: &Device) -> Condition;

    /// The places of asks that the network reads in one batch: all of them, unless some are longer than others.
    fn together(&self, asks: &[Ask]) -> Vec<Vec<usize>> {
        vec![(0..asks.len()).collect()]
    }

    /// Makes ready what accepted asks need, so that nothing is left to be done, or to fail, while pictures are made.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn prepare(&self, _asks: &mut dyn Iterator<Item = &Ask>) -> Result<(), WeightsError> {
        Ok(())
    }

    /// Bytes of memory that are only needed to [`prepare`](Self::prepare).
    fn held(&self) -> u64 {
        0
    }

    /// Gives them back; whatever is prepared later reads them again.
    fn release(&self) {}

    /// What is lost of an ask that is accepted, for people: words that are cut off.
    fn lost(&self, _ask: &Ask) -> Option<String> {
        None
    }

    /// What takes turns when nothing is asked for; empty where nothing can be asked for.
    fn all(&self) -> Vec<Ask>;

    /// What picture `i` of a dataset shows, in the model's terms; [`Ask::None`] where the model has no word for it. Of several
    /// descriptions of a picture, it is number `turn`'s, in turn.
    fn ask(&self, data: &Dataset, i: usize, turn: u64) -> Ask;

    /// The same for a picture as it is drawn in training, `x0 [C, H, W]`, of what is random about it by `seed`.
    fn drawn(&self, ask: Ask, _x0: &[f32], _seed: u64) -> Ask {
        ask
    }

    /// What a dataset tells the model of its pictures beside what the data's own fingerprint covers.
    fn told_by(&self, _data: &Dataset) -> Told {
        Told::default()
    }

    /// Writes into a model's card what makes this conditioner again.
    fn note(&self, card: &mut Card);

    /// What asks for nothing in particular.
    fn nothing(&self) -> Ask {
        Ask::None
    }

    /// What a word asks for.
    ///
    /// # Errors
    /// A word that means nothing to the model, with those that do.
    fn parse(&self, word: &str) -> Result<Ask, RequestError>;

    /// What an option of the command line asks for: several words, or the file that holds them.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    fn list(&self, text: &str) -> Result<Vec<Ask>, RequestError>;

    /// The word for an ask, which is read as the same ask.
    fn print(&self, ask: &Ask) -> String;

    /// An ask in the name of a picture's file; empty where its word says nothing to people.
    fn title(&self, ask: &Ask) -> String {
        self.print(ask)
    }

    /// What a picture says of itself that was made so.
    fn facts(&self, ask: &Ask) -> Map<String, Value> {
        self.field().map(|field| (field.name.to_owned(), self.print(ask).into())).into_iter().collect()
    }

    /// The JSON schema of the field of requests for this model: what can be chosen from, or between which numbers.
    fn schema(&self) -> Value;

    /// The most letters of a word that means something.
    fn longest(&self) -> usize;

    /// SHA-256 (hexadecimal) of what was learned from beside the data; empty where that is nothing.
    fn fingerprint(&self) -> &str {
        ""
    }

    /// What can be asked for, for people; `None` where nothing can.
    fn describe(&self) -> Option<String>;

    /// The classes of the model: none unless it is asked for those.
    fn classes(&self) -> &Classes {
        const { &Classes::NONE }
    }
}

/// What there is to learn a conditioner from.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// What the network is to be told.
    pub config: &'a ConditionConfig,
    /// The data.
    pub data: &'a Dataset,
    /// Which of its pictures are trained on.
    pub train: &'a [usize],
    /// The text encoder that the configuration names.
    pub frozen: Option<&'a Frozen>,
}

/// What reads asks for a network, where it does not read them itself.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    /// The tokenizer and the text encoder.
    pub words: Option<Arc<Words>>,
    /// What reads pictures.
    pub clip: Option<Arc<ClipModel>>,
}

/// What there is to make a model's conditioner from.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// What the folder knows beyond diffusers' words.
    pub card: &'a Card,
    /// What the network reads.
    pub io: &'a Io,
    /// What lies beside it.
    pub readers: &'a Readers,
}

/// How a kind of conditioner comes about.
pub trait Member: Conditioning + Sized {
    /// How it is asked.
    const FIELD: Field;

    /// Learned from the pictures of a dataset; `None` where these have nothing to ask for.
    ///
    /// # Errors
    /// What is wrong with what the data say of the pictures.
    fn learn(lesson: Lesson) -> Result<Option<Self>, String>;

    /// What a model's folder and network say; `None` where they speak of no such asks.
    ///
    /// # Errors
    /// What contradicts what.
    fn read(source: &Source) -> Result<Option<Self>, String>;

    /// The same for a network that reads this.
    ///
    /// # Errors
    /// A network that reads something else.
    fn with_network(self, io: &Io) -> Result<Self, String>;

    /// The same that reads prompts so, where it reads any.
    fn reading(self, _how: Reading) -> Self {
        self
    }
}

/// Makes [`Conditioner`]. A line reads `"name" => Variant(Type);`.
macro_rules! conditioners {
    ($($name:literal => $variant:ident($type:ty);)+) => {
        /// What a model can be asked for, and what its network reads of that.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub enum Conditioner {
            /// Nothing can be asked.
            #[default]
            Nothing,
            $(#[doc = concat!("`", $name, "`")] $variant($type),)+
        }

        impl Conditioner {
            /// The names of every kind.
            pub const KINDS: &[&str] = &["none", $($name),+];
            /// How models of every kind are asked.
            pub const FIELDS: &[&Field] = &[$(&<$type>::FIELD),+];

            /// The name of this kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    Self::Nothing => "none",
                    $(Self::$variant(_) => $name,)+
                }
            }

            /// What a network is to be told of the pictures of a dataset; nothing where the data say nothing of that kind.
            ///
            /// # Errors
            /// What is wrong with what the data say of the pictures.
            pub fn learn(lesson: Lesson) -> Result<Self, String> {
                let of = |kind: &str| Self::learn(Lesson { config: &lesson.config.of(kind), ..lesson });
                match lesson.config.kind.as_str() {
                    AUTO if lesson.frozen.is_some() || are_captioned(lesson.data, lesson.train.iter().copied()) => {
                        of("text")
                    },
                    AUTO => of("class"),
                    $($name => Ok(<$type>::learn(lesson)?.map_or(Self::Nothing, Self::$variant)),)+
                    _ => Ok(Self::Nothing),
                }
            }

            /// What a folder says that a model can be asked for.
            ///
            /// # Errors
            /// A card and a network that contradict each other.
            pub fn read(source: &Source) -> Result<Self, String> {
                let named = match &source.card.condition {
                    Some(value) => Some(value["kind"].as_str().filter(|kind| Self::KINDS.contains(kind)).ok_or_else(|| {
                        format!("condition: its kind is {}; known are {}", value["kind"], Self::KINDS.join(", "))
                    })?),
                    None => None,
                };
                $(if named.is_none_or(|kind| kind == $name)
                    && let Some(conditioner) = <$type>::read(source)?
                {
                    return Ok(Self::$variant(conditioner));
                })+
                Ok(Self::Nothing)
            }

            /// The same for a network that reads this.
            ///
            /// # Errors
            /// A network that reads something else.
            pub fn with_network(self, io: &Io) -> Result<Self, String> {
                match self {
                    Self::Nothing => Ok(Self::Nothing),
                    $(Self::$variant(conditioner) => conditioner.with_network(io).map(Self::$variant),)+
                }
            }

            /// The same that reads prompts so, where it reads any.
            pub fn reading(self, how: Reading) -> Self {
                match self {
                    Self::Nothing => Self::Nothing,
                    $(Self::$variant(conditioner) => Self::$variant(conditioner.reading(how)),)+
                }
            }
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
                    Self::Nothing => &Nothing,
                    $(Self::$variant(conditioner) => conditioner,)+
                }
            }
        }
    };
}
conditioners! {
    "class" => Class(Classes);
    "embedding" => Embedding(Embedding);
    "text" => Text(Text);
    "picture" => Picture(Pictures);
    "small" => Small(Smalls);
}

impl Conditioner {
    /// Refuses a field that this model can't be asked by.
    ///
    /// # Errors
    /// It can't.
    pub fn takes(&self, field: &Field) -> Result<(), RequestError> {
        match self.field() {
            Some(own) if own.name == field.name => Ok(()),
            _ => Err(RequestError::new(field.name, field.without)),
        }
    }

    /// What each of `n` pictures should show: the asks take turns, all there are where none is given. Empty for models that
    /// can't be asked for anything.
    pub fn turns(&self, asks: Vec<Ask>, n: usize) -> Cond {
        let asks = if asks.is_empty() { self.all() } else { asks };
        asks.iter().cloned().cycle().take(n).collect()
    }

    /// Pictures that are led away from what these words ask for, which take turns.
    ///
    /// # Errors
    /// A model that can't be led away from anything, or a word that means nothing to it.
    pub fn away<W: AsRef<str>>(&self, cond: Cond, words: &[W]) -> Result<Cond, RequestError> {
        let nothing = self.nothing();
        let of = |e: RequestError| RequestError::new(NEGATIVE, e.problem);
        if !words.is_empty() && !self.guides() {
            return Err(RequestError::new(NEGATIVE, "this model has not learned to be led away from anything"));
        }
        let asks = words.iter().map(|word| self.parse(word.as_ref())).collect::<Result<Vec<_>, _>>().map_err(of)?;
        Ok(cond.away_from(if asks.is_empty() { std::slice::from_ref(&nothing) } else { &asks }))
    }
}
