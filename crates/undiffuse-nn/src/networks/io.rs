//! What goes into a network, and what comes out.

use burn::tensor::Tensor;

use super::blocks::told::Attended;

/// The shape of a network, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Height and width of the images that it was made for; `None` where that is not said.
    pub sample_size: Option<[usize; 2]>,
    /// What it reads besides images and times, once a picture.
    pub reads: Reads,
    /// The tokens that it attends to; `None` where it attends to nothing beside its pixels.
    pub tokens: Option<Attends>,
    /// Width of a vector that is added to the features of the time, where one is given \[Meng23, section 3.1\].
    pub timestep_cond: Option<usize>,
}

/// The tokens that a network attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attends {
    /// Width of a token.
    pub width: usize,
    /// How many there are; `None` where that is free.
    pub length: Option<usize>,
}

impl Io {
    /// Whether a condition is what the network reads.
    ///
    /// # Errors
    /// It is not, or has not one entry for each of `batch` pictures.
    pub fn check(&self, condition: &Condition, batch: usize) -> Result<(), InputError> {
        self.reads.check(condition, batch)?;
        let told = condition.tokens.as_ref().map(Tensor::dims);
        match (self.tokens, told) {
            (None, None) => {}
            (None, Some(_)) => return Err(InputError::NoTokens),
            (Some(expected), None) => return Err(InputError::TokensMissing(expected.width)),
            (Some(expected), Some(got @ [tokens, length, width])) => {
                entries("encoder_hidden_states", tokens, batch)?;
                if width != expected.width || length == 0 {
                    return Err(InputError::Tokens { got, expected: expected.width });
                }
                if let Some(expected) = expected.length.filter(|&expected| expected != length) {
                    return Err(InputError::TokenCount { got: length, expected });
                }
            }
        }
        if let Some(mask) = condition.mask.as_ref().map(Tensor::dims) {
            match told {
                Some([b, length, _]) if mask == [b, length] => {}
                Some([b, length, _]) => return Err(InputError::Mask { got: mask, expected: [b, length] }),
                None => return Err(InputError::NoTokens),
            }
        }
        match (self.timestep_cond, condition.timestep_cond.as_ref().map(Tensor::dims)) {
            (_, None) => Ok(()),
            (None, Some(_)) => Err(InputError::NoTimestepCond),
            (Some(expected), Some([_, width])) if width != expected => Err(InputError::TimestepCond(expected)),
            (Some(_), Some([vectors, _])) => entries("timestep_cond", vectors, batch),
        }
    }
}

/// Whether sides are multiples of `stride`, and not 0.
pub(super) fn multiples([height, width]: [usize; 2], stride: usize) -> Result<(), InputError> {
    match [height, width].iter().all(|&side| side > 0 && side.is_multiple_of(stride)) {
        true => Ok(()),
        false => Err(InputError::Size { height, width, stride }),
    }
}

/// Whether there is an entry for each picture.
fn entries(what: &'static str, got: usize, expected: usize) -> Result<(), InputError> {
    if got == expected { Ok(()) } else { Err(InputError::Batch { what, got, expected }) }
}

/// What a network reads of a picture besides the image and its time: the field of [`Condition`] that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nothing.
    Nothing,
    /// A label a picture, in whole numbers below so many; 0 stands for any number at all, embedded like a timestep.
    Labels(usize),
    /// A vector of so many numbers a picture.
    Vector(usize),
}

/// What the pictures of a batch should show, as a network reads it.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// A label a picture `[B]`.
    pub labels: Option<Vec<f32>>,
    /// A vector a picture `[B, width]`.
    pub vector: Option<Tensor<2>>,
    /// Tokens to attend to `[B, L, width]`.
    pub tokens: Option<Tensor<3>>,
    /// Which of them count, `[B, L]`: 1, and 0 for those that do not. All count where there is none.
    pub mask: Option<Tensor<2>>,
    /// What a network has made of the tokens: see [`Network::attend`](super::Network::attend).
    pub attended: Option<Attended>,
    /// Channels that are read behind those of what is denoised, `[B, C', H, W]`: a small picture made large, or what is painted
    /// into.
    pub beside: Option<Tensor<4>>,
    /// What is added to the features of the time `[B, width]`: how strong the guidance is to look, of a distilled network.
    pub timestep_cond: Option<Tensor<2>>,
}

impl Condition {
    /// A label for each picture.
    pub fn labels(labels: Vec<f32>) -> Self {
        Self { labels: Some(labels), ..Self::default() }
    }

    /// A vector for each picture, `[B, width]`.
    pub fn vector(vector: Tensor<2>) -> Self {
        Self { vector: Some(vector), ..Self::default() }
    }

    /// What is denoised `[B, C, H, W]` with the channels that are read beside it.
    pub(super) fn joined(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.beside {
            Some(beside) => Tensor::cat(vec![x, beside.clone()], 1),
            None => x,
        }
    }
}

impl Reads {
    /// How many labels can be asked for.
    pub fn classes(self) -> usize {
        match self {
            Self::Labels(classes) => classes,
            _ => 0,
        }
    }

    /// Whether a condition is what the network reads.
    ///
    /// # Errors
    /// It is not, or has not one entry for each of `batch` pictures.
    fn check(self, condition: &Condition, batch: usize) -> Result<(), InputError> {
        match (self, &condition.labels, &condition.vector) {
            (Self::Nothing, None, None) => Ok(()),
            (Self::Nothing, ..) => Err(InputError::NoClasses),
            (_, None, None) => Err(InputError::LabelsMissing),
            (Self::Labels(classes), Some(labels), None) => {
                entries("class_labels", labels.len(), batch)?;
                let known =
                    |&&label: &&f32| classes == 0 || (0.0..classes as f32).contains(&label) && label.fract() == 0.0;
                match labels.iter().find(|label| !known(label)) {
                    Some(&label) => Err(InputError::Label { label, classes }),
                    None => Ok(()),
                }
            }
            (Self::Labels(_), ..) => Err(InputError::Numbers),
            (Self::Vector(expected), None, Some(vector)) => {
                let [vectors, width] = vector.dims();
                entries("class_labels", vectors, batch)?;
                if width == expected { Ok(()) } else { Err(InputError::Vector(expected)) }
            }
            (Self::Vector(expected), ..) => Err(InputError::Vector(expected)),
        }
    }
}

/// An input that does not fit the network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InputError {
    #[error("the input has {got} channels, the network takes {expected}")]
    Channels { got: usize, expected: usize },
    #[error(
        "what is read beside the input has shape {got:?}; [{}, channels, {}, {}] is expected", expected[0], expected[1], expected[2]
    )]
    Beside { got: [usize; 4], expected: [usize; 3] },
    #[error("the input is {width}×{height} pixels; this network needs sides that are multiples of {stride}")]
    Size { height: usize, width: usize, stride: usize },
    #[error("`{what}` has {got} entries, the batch has {expected}")]
    Batch { what: &'static str, got: usize, expected: usize },
    #[error("the network has no classes, so it takes no class labels")]
    NoClasses,
    #[error("the network was trained with classes: give class labels")]
    LabelsMissing,
    #[error("class label {label} is not one of 0..{classes}")]
    Label { label: f32, classes: usize },
    #[error("this network takes class labels that are whole numbers [batch], no vectors")]
    Numbers,
    #[error("this network takes class labels that are vectors [batch, {0}]")]
    Vector(usize),
    #[error("the input is {}×{} pixels; this network takes {}×{}", got[1], got[0], expected[1], expected[0])]
    Sides { got: [usize; 2], expected: [usize; 2] },
    #[error("the texts have {got} tokens; this network takes 1 to {longest}")]
    Length { got: usize, longest: usize },
    #[error("token {id} is not one of 0..{vocabulary}: the tokens are of another vocabulary than the network")]
    Token { id: usize, vocabulary: usize },
    #[error("{skip} layers are to be skipped; this network has {layers}")]
    Skip { skip: usize, layers: usize },
    #[error("`attention_mask` hides every token of text {text}")]
    Masked { text: usize },
    #[error("the network attends to no tokens, so it takes no encoder_hidden_states and no mask of them")]
    NoTokens,
    #[error("the network attends to tokens: give encoder_hidden_states [batch, tokens, {0}]")]
    TokensMissing(usize),
    #[error("`encoder_hidden_states` has shape {got:?}; this network takes [batch, tokens, {expected}]")]
    Tokens { got: [usize; 3], expected: usize },
    #[error("`encoder_hidden_states` has {got} tokens; this network takes {expected}")]
    TokenCount { got: usize, expected: usize },
    #[error("`encoder_attention_mask` has shape {got:?}; a number for each token is expected, {expected:?}")]
    Mask { got: [usize; 2], expected: [usize; 2] },
    #[error("this network takes no timestep_cond: its config has no time_cond_proj_dim")]
    NoTimestepCond,
    #[error("this network takes a timestep_cond [batch, {0}]")]
    TimestepCond(usize),
}
