//! Words in pictures against what Pillow and piexif put there; see `make_words.py`.

use std::collections::BTreeMap;
use std::path::Path;

use undiffuse_data::{Options, read_texts};

#[test]
fn words_are_those_that_other_programs_wrote() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/words");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let expected: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&read("expected.json")).unwrap();
    assert!(expected.len() >= 12);
    for (name, words) in expected {
        let texts = read_texts(&read(&name), &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(texts.into_iter().collect::<BTreeMap<_, _>>(), words, "{name}");
    }
    assert!(read_texts(b"GIF89a", &Options::default()).unwrap_err().to_string().contains("damaged"));
    assert!(read_texts(&read("plain.jpg")[..300], &Options::default()).is_err());
}
