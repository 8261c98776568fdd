//! Words as the tokens that a text encoder reads.
//!
//! A [`Tokenizer`] is what transformers reads from the same folder: `tokenizer.json`, or CLIP's `vocab.json` and
//! `merges.txt`. A prompt ([`prompt`] has its notation) becomes [`Chunk`]s of as many tokens as the encoder takes, each with
//! the marks of a text's start and end: a prompt that fits into one is the chunk that diffusers makes, longer ones go on in
//! further chunks as in AUTOMATIC1111's web UI. [`Words`] has the text encoder, too, and says what it makes of a prompt.

mod config;
mod encoder;
mod known;
pub mod prompt;
mod vocabulary;

pub use config::{WordsConfig, of_class};
pub use encoder::{Emphasis, Encoding, Reading, Words};
pub use known::Frozen;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokenizers::AddedToken;
use undiffuse_data::text::hex;

use crate::files::{self, FileError};
use prompt::Piece;

const WHOLE: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const SETTINGS: &str = "tokenizer_config.json";
/// Where files before 2023 have their special tokens, too.
const SPECIAL: &str = "special_tokens_map.json";
/// Most bytes of a file: a vocabulary of a million words.
const LIMIT: u64 = 64 << 20;
/// Longer texts than this are not meant by a `model_max_length`, which is 10³⁰ where nobody set it.
const LONGEST: f64 = 1e6;
/// CLIP's marks, where a folder names none, and how the last token of a word ends.
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const WORD_END: &str = "</w>";
/// Of so many texts one may be longer than what is read at once.
const CUT: usize = 200;
/// The length of texts is a multiple of it.
const STEP: usize = 4;
/// A chunk that is full ends behind its last comma, where that is among so many of its last tokens.
const COMMA_WITHIN: usize = 20;
/// CLIP's words: names between bars, contractions, letters, single digits, and what else is no space.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no vocabulary.
    #[error("there is no tokenizer in `{0}`: tokenizer.json, or vocab.json and merges.txt, were expected")]
    Missing(PathBuf),
    /// A file that says what cannot be.
    #[error("`{path}`: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// From words to tokens.
#[derive(Debug)]
pub struct Tokenizer {
    files: Files,
    words: tokenizers::Tokenizer,
    start: Vec<u32>,
    end: Vec<u32>,
    pad: u32,
    comma: Option<u32>,
    length: Option<usize>,
}

/// What a text encoder reads at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Tokens, those of the start, the end and of filling up included.
    pub ids: Vec<u32>,
    /// How much each counts.
    pub weights: Vec<f32>,
    /// Tokens up to the end of the words, which is one of them.
    pub used: usize,
}

/// A prompt as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenized {
    /// At least one.
    pub chunks: Vec<Chunk>,
    /// The words that did not fit, if any.
    pub cut: Option<String>,
}

impl Tokenizer {
    /// The files that a tokenizer is read from, those that lie there.
    pub const FILES: &[&str] = &[WHOLE, VOCABULARY, MERGES, SETTINGS, SPECIAL];

    /// Reads the tokenizer of a folder.
    ///
    /// # Errors
    /// A folder without one, and files that make none.
    pub fn read(folder: &Path) -> Result<Self, TokenizerError> {
        Self::of(Files::read(folder)?)
    }

    /// The files that make the same tokenizer, by their names.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.all.iter().map(|(name, bytes)| (*name, &bytes[..]))
    }

    /// SHA-256 (hexadecimal) of these files.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        self.files().for_each(|(_, bytes)| hash.update(bytes));
        hex(&hash.finalize())
    }

    fn of(files: Files) -> Result<Self, TokenizerError> {
        let settings = Settings::read(&files)?;
        let (from, whole) = match files.object(WHOLE)? {
            Some(whole) => (WHOLE, whole),
            None => (VOCABULARY, settings.whole(&files)?),
        };
        let damaged = |problem: String| files.damaged(from, problem);
        // How long texts are is asked of the encoder.
        let text = Value::Object(Map::from_iter(whole.into_iter().filter(|(key, _)| !LENGTHS.contains(&key.as_str()))));
        let words = tokenizers::Tokenizer::from_bytes(text.to_string());
        let mut words = words.map_err(|e| damaged(format!("it is no tokenizer that is known here: {e}")))?;
        let known: Vec<String> = words.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
        let added = settings.special().into_iter().filter(|token| !known.contains(&token.content));
        words.add_special_tokens(added).map_err(|e| damaged(e.to_string()))?;
        let empty = words.encode_fast("", true).map_err(|e| damaged(e.to_string()))?;
        let (start, end) = match *empty.get_ids() {
            [start, end] => (vec![start], vec![end]),
            [end] => (vec![], vec![end]),
            _ => return Err(damaged("it marks neither the start nor the end of a text".into())),
        };
        let pad = settings.name("pad_token").and_then(|name| words.token_to_id(&name)).unwrap_or(end[0]);
        let comma = words.token_to_id(&format!(",{WORD_END}"));
        Ok(Self { files, words, start, end, pad, comma, length: settings.length() })
    }

    /// Tokens of a chunk, the marks of its start and end included; `None` where the folder does not say.
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    /// The ids of tokens lie below this number.
    pub fn vocabulary(&self) -> usize {
        let known = self.words.get_vocab(true);
        known.into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// The token that ends a text.
    pub fn end(&self) -> Option<usize> {
        self.end.first().map(|&id| id as usize)
    }

    /// Tokens of a chunk that are no words.
    pub fn marks(&self) -> usize {
        self.start.len() + self.end.len()
    }

    /// The token that fills up a text.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The tokens of words, without marks.
    ///
    /// # Errors
    /// Words that the tokenizer's own pattern fails on.
    pub fn ids(&self, words: &str) -> Result<Vec<u32>, String> {
        let encoded = self.words.encode_fast(words, false);
        encoded.map(|encoded| encoded.get_ids().to_vec()).map_err(|e| format!("the words make no tokens: {e}"))
    }

    /// A prompt in at most `most` chunks of `length` tokens.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    ///
    /// # Panics
    /// If there is no room for a token between the marks, or no chunk.
    pub fn tokenize(&self, prompt: &str, length: usize, most: usize) -> Result<Tokenized, String> {
        self.tokenize_pieces(prompt::parse(prompt), length, most)
    }

    /// The pieces of a prompt in at most `most` chunks of `length` tokens.
    pub(crate) fn tokenize_pieces(&self, pieces: Vec<Piece>, length: usize, most: usize) -> Result<Tokenized, String> {
        let room = length.saturating_sub(self.marks());
        assert!(room > 0 && most > 0, "{most} chunks with room for {room} tokens");
        let mut filling =
            Filling { room, most, comma: self.comma, chunks: vec![Vec::new()], last_comma: None, cut: vec![] };
        for piece in pieces {
            match piece {
                Piece::Break => filling.follow(),
                Piece::Words(words, weight) => {
                    self.ids(&words)?.into_iter().for_each(|id| filling.push((id, weight as f32)));
                }
            }
        }
        let Filling { mut chunks, cut, .. } = filling;
        // Where nothing follows a break, there is nothing to add to what comes before.
        if chunks.len() > 1 && chunks.last().is_some_and(Vec::is_empty) {
            chunks.pop();
        }
        let cut = (!cut.is_empty()).then(|| self.print(&cut));
        Ok(Tokenized { chunks: chunks.into_iter().map(|chunk| self.framed(&chunk, length)).collect(), cut })
    }

    /// A chunk with its marks, filled up.
    fn framed(&self, tokens: &[(u32, f32)], length: usize) -> Chunk {
        let marks = |marks: &[u32]| marks.iter().map(|&id| (id, 1.0)).collect::<Vec<_>>();
        let mut all = [marks(&self.start), tokens.to_vec(), marks(&self.end)].concat();
        let used = all.len();
        all.resize(length, (self.pad, 1.0));
        let (ids, weights) = all.into_iter().unzip();
        Chunk { ids, weights, used }
    }

    /// How many tokens, marks included, nearly all of these texts have; at most `longest`.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    fn fitting(&self, texts: &[&str], longest: usize) -> Result<usize, String> {
        let mut lengths =
            texts.iter().map(|text| self.ids(text).map(|ids| ids.len())).collect::<Result<Vec<_>, _>>()?;
        lengths.sort_unstable();
        let nearly_all = lengths.len().checked_sub(1 + lengths.len() / CUT).map_or(0, |at| lengths[at]);
        Ok((nearly_all + self.marks()).next_multiple_of(STEP).min(longest))
    }

    /// The words of tokens.
    fn print(&self, ids: &[u32]) -> String {
        let words = self.words.decode(ids, true).unwrap_or_default();
        words.replace(WORD_END, " ").trim().to_owned()
    }
}

/// Chunks while tokens come.
struct Filling {
    room: usize,
    most: usize,
    comma: Option<u32>,
    chunks: Vec<Vec<(u32, f32)>>,
    /// Where the last chunk has its last comma.
    last_comma: Option<usize>,
    cut: Vec<u32>,
}

impl Filling {
    /// Goes on in another chunk; where there may be no more, nothing goes on.
    fn follow(&mut self) {
        self.last_comma = None;
        match self.chunks.len() < self.most {
            true => self.chunks.push(Vec::new()),
            false => self.room = 0,
        }
    }

    fn push(&mut self, token: (u32, f32)) {
        let at = self.chunks.len() - 1;
        let filled = self.chunks[at].len();
        if filled >= self.room {
            // What stands behind the last comma belongs together.
            let near = self.last_comma.filter(|comma| filled - comma <= COMMA_WITHIN && self.comma != Some(token.0));
            let from = near.filter(|_| self.chunks.len() < self.most).map_or(filled, |comma| comma + 1);
            let moved = self.chunks[at].split_off(from);
            self.follow();
            match self.room {
                0 => return self.cut.push(token.0),
                _ => self.chunks[at + 1] = moved,
            }
        }
        let last = self.chunks.len() - 1;
        if self.comma == Some(token.0) {
            self.last_comma = Some(self.chunks[last].len());
        }
        self.chunks[last].push(token);
    }
}

/// What a tokenizer.json says of the length of texts.
const LENGTHS: [&str; 2] = ["truncation", "padding"];

/// The files of a tokenizer.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    all: BTreeMap<&'static str, Vec<u8>>,
}

impl Files {
    fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let mut all = BTreeMap::new();
        for &name in Tokenizer::FILES {
            let path = folder.join(name);
            if path.is_file() {
                all.insert(name, files::read(&path, LIMIT)?);
            }
        }
        Ok(Self { folder: folder.to_owned(), all })
    }

    fn damaged(&self, name: &str, problem: impl Into<String>) -> TokenizerError {
        TokenizerError::Damaged { path: self.folder.join(name), problem: problem.into() }
    }

    /// What a file of JSON holds, if there is such a file.
    fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, TokenizerError> {
        let Some(bytes) = self.all.get(name) else { return Ok(None) };
        let read = serde_json::from_slice(bytes).map(Some);
        read.map_err(|e| self.damaged(name, format!("a JSON object was expected: {e}")))
    }
}

/// What lies beside a vocabulary.
struct Settings(Map<String, Value>);

impl Settings {
    fn read(files: &Files) -> Result<Self, TokenizerError> {
        let mut all = Map::new();
        for name in [SPECIAL, SETTINGS] {
            all.extend(files.object(name)?.unwrap_or_default());
        }
        Ok(Self(all))
    }

    /// The text of a special token.
    fn name(&self, key: &str) -> Option<String> {
        let token = self.0.get(key)?;
        token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
    }

    fn length(&self) -> Option<usize> {
        let length = self.0.get("model_max_length")?.as_f64()?;
        (1.0..LONGEST).contains(&length).then_some(length as usize)
    }

    /// The tokens that are found in a text before it is cut into words, in transformers' order.
    fn special(&self) -> Vec<AddedToken> {
        let told = self.0.get("added_tokens_decoder").and_then(Value::as_object);
        let mut told: Vec<(u64, &Value)> =
            told.into_iter().flatten().filter_map(|(id, token)| Some((id.parse().ok()?, token))).collect();
        told.sort_by_key(|(id, _)| *id);
        let mut all: Vec<AddedToken> = told.into_iter().filter_map(|(_, token)| added(token)).collect();
        let known: Vec<String> = all.iter().map(|token| token.content.clone()).collect();
        for key in ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
            let token = self.0.get(key).and_then(added).filter(|token| !known.contains(&token.content));
            all.extend(token.map(|token| token.special(true)));
        }
        all
    }

    /// CLIP's tokenizer from its two files, as a `tokenizer.json` says it.
    fn whole(&self, files: &Files) -> Result<Map<String, Value>, TokenizerError> {
        let (Some(words), Some(merges)) = (files.object(VOCABULARY)?, files.all.get(MERGES)) else {
            return Err(TokenizerError::Missing(files.folder.clone()));
        };
        let text = std::str::from_utf8(merges).map_err(|e| files.damaged(MERGES, e.to_string()))?;
        let pairs: Vec<&str> = text.lines().filter(|line| !line.starts_with("#version")).collect();
        let mark = |key: &str, usual: &str| {
            let name = self.name(key).unwrap_or_else(|| usual.to_owned());
            let id = words.get(&name).and_then(Value::as_u64);
            let id = id.ok_or_else(|| files.damaged(VOCABULARY, format!("there is no token `{name}`, the {key}")))?;
            Ok::<_, TokenizerError>(json!([name, id]))
        };
        let (start, end) = (mark("bos_token", START)?, mark("eos_token", END)?);
        let unknown = self.name("unk_token").unwrap_or_else(|| END.to_owned());
        let whole = json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": normalizer(),
            "pre_tokenizer": pre_tokenizer(),
            "post_processor": {
                "type": "RobertaProcessing", "sep": end, "cls": start, "trim_offsets": false, "add_prefix_space": false,
            },
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "",
                "end_of_word_suffix": WORD_END, "fuse_unk": false, "vocab": words, "merges": pairs,
            },
        });
        match whole {
            Value::Object(whole) => Ok(whole),
            _ => unreachable!("it is written as an object"),
        }
    }
}

/// A token of a configuration: a text, or one with its habits.
fn added(token: &Value) -> Option<AddedToken> {
    if let Some(name) = token.as_str() {
        return Some(AddedToken::from(name, true));
    }
    let flag = |name: &str, usual: bool| token[name].as_bool().unwrap_or(usual);
    let special = flag("special", false);
    let plain = AddedToken::from(token["content"].as_str()?, special).normalized(flag("normalized", !special));
    Some(plain.lstrip(flag("lstrip", false)).rstrip(flag("rstrip", false)).single_word(flag("single_word", false)))
}

/// How CLIP cleans a text, as a `tokenizer.json` says it.
fn normalizer() -> Value {
    json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Lowercase"},
    ]})
}

/// How CLIP cuts a text into words, as a `tokenizer.json` says it.
fn pre_tokenizer() -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    ]})
}
