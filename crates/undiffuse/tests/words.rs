//! Prompts as tokens, against transformers: see `xtask/golden/words.py`, and `xtask/checks/tokens.py` for real vocabularies.

use std::path::{Path, PathBuf};

use undiffuse::words::{Chunk, Tokenizer};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name)
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::read(&folder(name)).unwrap()
}

#[test]
fn tokens_equal_transformers() {
    for name in ["clip", "pad", "whole"] {
        let tokenizer = tokenizer(name);
        assert_eq!(tokenizer.length(), Some(12), "{name}");
        let lines = std::fs::read_to_string(folder(name).join("tokens.jsonl")).unwrap();
        let mut plain = 0;
        for line in lines.lines() {
            let (prompt, ids, fed): (String, Vec<u32>, Vec<u32>) = serde_json::from_str(line).unwrap();
            assert_eq!(tokenizer.ids(&prompt).unwrap(), ids, "{name}: {prompt:?}");
            // Without the notation of weights, a single chunk is what diffusers feeds.
            if !prompt.contains(['(', ')', '[', ']', '\\']) && !prompt.contains("BREAK") {
                let one = tokenizer.tokenize(&prompt, 12, 1).unwrap();
                assert_eq!((&one.chunks[0].ids, one.chunks.len()), (&fed, 1), "{name}: {prompt:?}");
                assert_eq!(one.cut.is_some(), ids.len() > 10, "{name}: {prompt:?}");
                plain += 1;
            }
        }
        assert!(plain > 100 && lines.lines().count() > plain);
    }
}

/// Letters, each a token or two of the small vocabulary.
fn ids_of(chunks: &[Chunk], tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let end = tokenizer.tokenize("", 12, 1).unwrap().chunks[0].ids[1];
    let words = |chunk: &Chunk| {
        assert_eq!((chunk.ids.len(), chunk.weights.len(), chunk.ids[chunk.used - 1]), (12, 12, end));
        chunk.ids[1..chunk.used - 1].to_vec()
    };
    chunks.iter().map(words).collect()
}

#[test]
fn long_prompts_go_on_in_further_chunks() {
    let tokenizer = tokenizer("clip");
    let id = |word: &str| match tokenizer.ids(word).unwrap()[..] {
        [id] => id,
        ref more => panic!("{word} is {more:?}"),
    };
    let [x, comma, z] = ["x", ",", "z"].map(id);
    let chunks = |prompt: &str| ids_of(&tokenizer.tokenize(prompt, 12, 9).unwrap().chunks, &tokenizer);
    assert_eq!(chunks(""), [Vec::<u32>::new()]);
    assert_eq!(chunks(&"x ".repeat(10)), [vec![x; 10]]);
    assert_eq!(chunks(&"x ".repeat(23)), [vec![x; 10], vec![x; 10], vec![x; 3]]);
    // What stands behind the last comma goes on together.
    let [head, tail] = ["x ".repeat(6), "z ".repeat(4)];
    assert_eq!(chunks(&format!("{head}, {tail}")), [[vec![x; 6], vec![comma]].concat(), vec![z; 4]]);
    assert_eq!(chunks(&format!("{},", "x ".repeat(10))), [vec![x; 10], vec![comma]]);
    assert_eq!(chunks("x BREAK z"), [vec![x], vec![z]]);
    assert_eq!(chunks("x BREAK"), [vec![x]]);
    assert_eq!(chunks("BREAK x"), [vec![], vec![x]]);
    // What is beyond the last chunk is told.
    let cut = tokenizer.tokenize(&format!("{}the cat", "x ".repeat(20)), 12, 2).unwrap();
    assert_eq!((ids_of(&cut.chunks, &tokenizer), cut.cut.as_deref()), (vec![vec![x; 10]; 2], Some("the cat")));
    let cut = tokenizer.tokenize("x BREAK the cat", 12, 1).unwrap();
    assert_eq!((ids_of(&cut.chunks, &tokenizer), cut.cut.as_deref()), (vec![vec![x]], Some("the cat")));
}

#[test]
fn words_in_brackets_count_more() {
    let tokenizer = tokenizer("clip");
    let chunk = tokenizer.tokenize("x (z:1.5) [x]", 12, 1).unwrap().chunks.remove(0);
    let expected = [1.0, 1.0, 1.5, (1.0 / 1.1f64) as f32, 1.0];
    assert_eq!((chunk.used, &chunk.weights[..5]), (5, &expected[..]));
    assert!(chunk.weights[5..].iter().all(|&weight| weight == 1.0));
}

#[test]
fn damaged_tokenizers_are_refused_by_file() {
    let place = tempfile::tempdir().unwrap();
    let refused = |words: &[&str]| {
        let problem = Tokenizer::read(place.path()).unwrap_err().to_string();
        assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
    };
    refused(&["no tokenizer in", "vocab.json and merges.txt"]);
    for file in ["vocab.json", "merges.txt"] {
        std::fs::copy(folder("clip").join(file), place.path().join(file)).unwrap();
    }
    assert_eq!(Tokenizer::read(place.path()).unwrap().length(), None);
    let write = |file: &str, text: &str| std::fs::write(place.path().join(file), text).unwrap();
    write("merges.txt", "#version: 0.2\nno such pair\n");
    refused(&["vocab.json", "no tokenizer"]);
    write("vocab.json", r#"{"a": 0}"#);
    refused(&["vocab.json", "<|startoftext|>", "bos_token"]);
    write("vocab.json", "[1, 2");
    refused(&["vocab.json", "JSON object"]);
    write("tokenizer.json", "{}");
    refused(&["tokenizer.json"]);
}
