//! Models that nothing can be asked of.

use burn::tensor::Device;
use serde_json::Value;
use undiffuse_data::Dataset;
use undiffuse_nn::networks::{Condition, Reads};

use super::{Ask, Conditioning, Field, RequestError};
use crate::card::Card;

/// The conditioner of a model without conditions.
pub(super) struct Nothing;

impl Conditioning for Nothing {
    fn field(&self) -> Option<&'static Field> {
        None
    }

    fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        match ask {
            Ask::None => Ok(()),
            _ => Err(RequestError::new("ask", "this model was trained without conditions: nothing can be asked of it")),
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

    fn ask(&self, _: &Dataset, _: usize, _: u64) -> Ask {
        Ask::None
    }

    fn note(&self, _: &mut Card) {}

    fn parse(&self, _: &str) -> Result<Ask, RequestError> {
        Ok(Ask::None)
    }

    fn list(&self, _: &str) -> Result<Vec<Ask>, RequestError> {
        Ok(Vec::new())
    }

    fn print(&self, _: &Ask) -> String {
        "none".into()
    }

    fn schema(&self) -> Value {
        Value::Null
    }

    fn longest(&self) -> usize {
        0
    }

    fn describe(&self) -> Option<String> {
        None
    }
}
