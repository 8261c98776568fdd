//! Text encoders as people download them, against transformers in double precision: what they make of texts of several lengths.
//! Made by `xtask/golden/frozen.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use undiffuse::burn::tensor::Device;
use undiffuse::nn::weights::{self, Named};
use undiffuse::words::{Emphasis, Encoding, Frozen, Reading};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/frozen")
}

fn near(got: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
    let apart = got.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(got.len() == expected.len() && apart <= 2e-6 * largest.max(1.0), "{what}: {apart} of {largest}");
}

#[test]
fn texts_of_several_lengths_are_what_transformers_makes_of_them() {
    let index: Value = serde_json::from_str(&std::fs::read_to_string(root().join("INDEX.json")).unwrap()).unwrap();
    let texts: Vec<&str> = index["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let plain = Reading { emphasis: Emphasis::None, ..Reading::default() };
    for fixture in index["fixtures"].as_array().unwrap() {
        let name = fixture["name"].as_str().unwrap();
        let golden: BTreeMap<String, Named> = weights::read(&root().join(format!("{name}.safetensors"))).unwrap();
        let [_, length] = golden["mask"].shape[..] else { panic!("a mask of tokens") };
        let words = Frozen::read(&root().join(name), &Device::flex()).unwrap().words;
        // As long as the batch was, and longer: what fills a text up is nothing to it.
        for more in [0, 5] {
            let words = words.masked(length + more).unwrap();
            assert_eq!(words.masked_length(), Some(length + more));
            for (k, text) in texts.iter().enumerate() {
                let Encoding { values, pooled, mask, .. } = words.encode(text, plain).unwrap();
                let of = |name: &str| {
                    let all = &golden[name].values;
                    &all[k * all.len() / texts.len()..][..all.len() / texts.len()]
                };
                let what = format!("{name}: {text:?} of {} tokens", length + more);
                let (read, rest) = values.split_at(length * words.width());
                near(read, of("states"), &what);
                near(&pooled, of("vectors"), &what);
                let mask = mask.unwrap();
                assert_eq!(&mask[..length], of("mask"), "{what}");
                assert!(mask[length..].iter().chain(rest).all(|&v| v == 0.0), "{what}");
            }
        }
        assert!(words.masked(2).is_err() && words.masked(1000).unwrap_err().contains("1000"));
    }
}
