//! Models that nothing can be asked of.

use burn::tensor::Device;
use undiffuse_data::Dataset;
use undiffuse_nn::networks::{Condition, Reads};

use super::{Ask, Conditioning};
use crate::model::Card;
use crate::request::RequestError;

/// The conditioner of a model without conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl Conditioning for Nothing {
    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        match ask {
            Ask::None => Ok(()),
            Ask::Class(_) => Err(RequestError::new("class", "this model was trained without classes")),
            Ask::Vector(_) => Err(RequestError::new("embedding", "this model was trained without embeddings")),
        }
    }

    fn guides(&self) -> bool {
        false
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
    }

    fn encode(&self, _: &[Ask], _: &Device) -> Condition {
        Condition::default()
    }

    fn all(&self) -> Vec<Ask> {
        Vec::new()
    }

    fn ask(&self, _: &Dataset, _: usize) -> Ask {
        Ask::None
    }

    fn note(&self, _: &mut Card) {}

    fn print(&self, _: &Ask) -> String {
        String::new()
    }
}
