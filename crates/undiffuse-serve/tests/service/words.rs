//! What models of words are asked, and what is in the answers.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use undiffuse::data::read_png_text;

use super::Answer;

/// The JSON of an answer to what was right.
pub fn good(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()
}

/// The file of a picture in an answer.
pub fn png(base64: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

/// A text of a PNG.
pub fn text(png: &[u8], name: &str) -> String {
    let texts = read_png_text(png).unwrap();
    texts.into_iter().find(|(key, _)| key == name).map(|(_, text)| text).unwrap_or_else(|| panic!("no text `{name}`"))
}

/// A request that takes no time.
pub fn ask(more: Value) -> Value {
    let mut request = json!({ "model": "words", "steps": 2, "guidance": 3.0, "seed": 5 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}
