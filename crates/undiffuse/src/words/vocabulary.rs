//! A vocabulary of one's own, learned from texts: CLIP's tokenizer with other words \[Radford21, section 2.4\].

use serde_json::{Map, Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model};

use super::{END, Files, MERGES, SETTINGS, START, Tokenizer, VOCABULARY, WORD_END, normalizer, pre_tokenizer};

/// Tokens that every vocabulary has: each byte, each byte that ends a word, and the marks of a text's start and end.
pub const LEAST: usize = 2 * 256 + 2;
/// A word's part becomes a token if it is there more often.
const ONCE: u64 = 1;

impl Tokenizer {
    /// A tokenizer of at most `vocabulary` tokens: pairs of tokens that stand side by side most often in `texts` are joined, one
    /// after the other \[Sennrich16, section 3.2\]. All bytes are tokens, so any text has some. Texts are `longest` tokens long,
    /// or shorter where nearly all of these are.
    ///
    /// # Errors
    /// Texts that the pattern of words fails on.
    ///
    /// # Panics
    /// If there is no room for the 514 tokens that every vocabulary has.
    pub fn learn(texts: &[&str], vocabulary: usize, longest: usize) -> Result<Self, String> {
        assert!(vocabulary >= LEAST, "{vocabulary} tokens are fewer than {LEAST}");
        let (mut words, merges) = pairs(texts, vocabulary).map_err(|e| format!("the texts make no vocabulary: {e}"))?;
        for mark in [START, END] {
            words.insert(mark.into(), words.len().into());
        }
        let merges: String = merges.iter().fold("#version: 0.2\n".into(), |text, pair| text + pair + "\n");
        let text = |value: Value| format!("{value:#}\n").into_bytes();
        let words = text(words.into());
        let of_length = |length: usize| {
            let settings = json!({
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": length,
                "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END,
            });
            let all = [(VOCABULARY, words.clone()), (MERGES, merges.clone().into_bytes()), (SETTINGS, text(settings))];
            Self::of(Files { folder: "tokenizer".into(), all: all.into_iter().collect() }).map_err(|e| e.to_string())
        };
        let all = of_length(longest)?;
        let length = all.fitting(texts, longest)?;
        if length < longest { of_length(length) } else { Ok(all) }
    }
}

/// The tokens with their ids, but for the marks, and the pairs that are joined.
fn pairs(texts: &[&str], vocabulary: usize) -> tokenizers::Result<(Map<String, Value>, Vec<String>)> {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    // Ids by number, not by the order in which words are met: that is another in every process, and ids decide between pairs
    // that are equally frequent.
    let inside = bytes.iter().map(|byte| byte.to_string());
    let last = bytes.iter().map(|byte| format!("{byte}{WORD_END}"));
    let fixed = inside.chain(last).map(|token| AddedToken::from(token, true)).collect();
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .min_frequency(ONCE + 1)
        .vocab_size(vocabulary - 2)
        .special_tokens(fixed)
        .end_of_word_suffix(WORD_END.into())
        .build();
    let blank = json!({
        "version": "1.0", "added_tokens": [], "normalizer": normalizer(), "pre_tokenizer": pre_tokenizer(),
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    });
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(blank.to_string())?;
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts.iter())?;
    let mut model = serde_json::to_value(tokenizer.get_model())?;
    let merges = model["merges"].as_array().into_iter().flatten();
    let merges = merges.filter_map(|pair| Some(format!("{} {}", pair[0].as_str()?, pair[1].as_str()?))).collect();
    let words = std::mem::take(model["vocab"].as_object_mut().expect("a model of pairs has a vocabulary"));
    debug_assert_eq!(words.len(), tokenizer.get_model().get_vocab_size());
    Ok((words, merges))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = ["a red circle left of a blue square", "Red circle, blue square", "größer als 10 🎈"];

    /// Frequent words become one token, every text has tokens, and nothing depends on the order of the texts.
    #[test]
    fn words_become_tokens() {
        let learned = Tokenizer::learn(&TEXTS, 600, 16).unwrap();
        assert_eq!(learned.ids("red Circle").unwrap().len(), 2);
        let odd = learned.ids("zebra 🎈 größer").unwrap();
        assert!(odd.len() > 10 && odd.iter().all(|&id| (id as usize) < learned.vocabulary()), "{odd:?}");
        assert_eq!((learned.length(), learned.marks(), learned.end()), (Some(16), 2, Some(learned.vocabulary() - 1)));
        let again = Tokenizer::learn(&[TEXTS[2], TEXTS[0], TEXTS[1]], 600, 16).unwrap();
        assert!(learned.files().eq(again.files()));
        let (least, few) =
            (Tokenizer::learn(&[""], LEAST, 77).unwrap(), Tokenizer::learn(&["a cat"], 600, 77).unwrap());
        assert_eq!((least.vocabulary(), least.length(), few.length()), (LEAST, Some(4), Some(8)));
    }
}
