//! What the captions of a dataset are like.

use std::collections::HashMap;

use serde::Serialize;

use super::Spread;
use crate::Dataset;
use crate::error::images;

/// Characters of a caption that are shown.
const SAMPLE: usize = 120;
/// More words than this do not fit into the 75 tokens that CLIP's text encoders read.
const LONG: usize = 60;
/// Pictures with the same caption, as a share of those with any, that are worth a warning.
const ALIKE: f64 = 0.5;

/// What is said of the pictures. Words are runs of letters, digits and apostrophes, in lower case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptionReport {
    /// Pictures with a caption.
    pub images: usize,
    /// Captions of those pictures, in all.
    pub captions: usize,
    /// Captions of a picture that has any.
    pub each: Spread,
    /// Captions that differ.
    pub distinct: usize,
    /// Words of a caption.
    pub words: Spread,
    /// Different words.
    pub vocabulary: usize,
    /// Words that stand in all captions together just once.
    pub seen_once: usize,
    /// The first caption.
    pub sample: String,
    /// The caption of the most pictures, and how many have it.
    pub commonest: (String, usize),
    /// Captions of more than 60 words, and the first picture with the longest of all.
    pub long: (usize, String),
}

impl CaptionReport {
    /// Nothing where no picture has a caption.
    pub(super) fn new(dataset: &Dataset) -> Option<CaptionReport> {
        let table = dataset.caption_table();
        let captioned: Vec<usize> = (0..dataset.len()).filter(|&i| dataset.captions(i).len() > 0).collect();
        let first = table.of(*captioned.first()?).next()?;
        let mut uses = vec![0; table.distinct()];
        captioned.iter().flat_map(|&i| table.of(i)).for_each(|caption| uses[caption as usize] += 1);
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut lengths = Vec::with_capacity(uses.len());
        for (caption, &uses) in (0..).zip(&uses) {
            let words = words(table.text(caption));
            lengths.push(words.len());
            words.into_iter().for_each(|word| *counts.entry(word).or_default() += uses);
        }
        let longest = (0..uses.len()).rev().max_by_key(|&caption| lengths[caption])?;
        let commonest = (0..uses.len()).rev().max_by_key(|&caption| uses[caption])?;
        let whose = captioned.iter().find(|&&i| table.of(i).any(|caption| caption as usize == longest))?;
        Some(CaptionReport {
            images: captioned.len(),
            captions: uses.iter().sum(),
            each: Spread::of(captioned.iter().map(|&i| table.of(i).len()).collect()),
            distinct: uses.len(),
            vocabulary: counts.len(),
            seen_once: counts.values().filter(|count| **count == 1).count(),
            sample: table.text(first).to_owned(),
            commonest: (table.text(commonest as u32).to_owned(), uses[commonest]),
            long: (
                lengths.iter().zip(&uses).filter(|(words, _)| **words > LONG).map(|(_, uses)| uses).sum(),
                dataset.name(*whose).to_owned(),
            ),
            words: Spread::of(lengths.iter().zip(&uses).flat_map(|(&n, &uses)| std::iter::repeat_n(n, uses)).collect()),
        })
    }

    /// What the owner should know, one sentence each, of a dataset of `total` pictures.
    pub(super) fn warnings(&self, total: usize) -> Vec<String> {
        let share = |count: usize| format!("{count} of {}", images(total));
        let mut found = Vec::new();
        if self.images < total {
            found.push(format!("without a caption, where others have one: {}", share(total - self.images)));
        }
        let (commonest, count) = &self.commonest;
        if *count > 1 && *count as f64 > ALIKE * self.images as f64 {
            found.push(format!(
                "captioned alike: {}, \"{}\". Words that are said of every picture teach a model nothing",
                share(*count),
                shortened(commonest)
            ));
        }
        let (long, longest) = &self.long;
        if *long > 0 {
            found.push(format!(
                "longer than {LONG} words: {long} of {} captions, up to {} words ({longest}). Text encoders have an end (CLIP's reads \
                 75 tokens), and what is behind it is not learned",
                self.captions, self.words.max
            ));
        }
        found
    }

    /// The lines of the report: their names, which may be empty, and their texts.
    pub(super) fn lines(&self) -> [(&'static str, String); 3] {
        let spread = format!("to an image {}; words {}", self.each, self.words);
        [
            ("captions", format!("{} images, such as \"{}\"", self.images, shortened(&self.sample))),
            ("", format!("{} in all, {} different; {spread}", self.captions, self.distinct)),
            ("vocabulary", format!("{} words, {} of them seen once", self.vocabulary, self.seen_once)),
        ]
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let runs = lower.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '\u{2019}');
    let bare = runs.map(|word| word.trim_matches(['\'', '\u{2019}']));
    bare.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The beginning of a long text.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SAMPLE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Entry, Memory, Payload};
    use crate::{DataReport, Image, Options};

    fn report(captions: &[&[&str]]) -> DataReport {
        let entry = |(i, captions): (usize, &&[&str])| Entry {
            name: format!("{i}.png"),
            payload: Payload::Pixels(Image::filled(4, 4, &[i as u8 * 9]), "mine"),
            label: None,
            captions: captions.iter().map(|caption| caption.to_string()).collect(),
        };
        let mut source = Memory::new(captions.iter().enumerate().map(entry).collect());
        DataReport::new(&Dataset::from_source("x", &mut source, &Options::default()).unwrap())
    }

    #[test]
    fn captions_are_counted() {
        let found = report(&[&["A dog's day", "the dog"], &[], &["the dog"], &["Ein Käfer, 2 dogs' DOG"]]);
        let captions = found.captions.clone().unwrap();
        assert_eq!((captions.images, captions.captions, captions.distinct), (3, 4, 3));
        assert_eq!((captions.each.min, captions.each.median, captions.each.max), (1, 1, 2));
        assert_eq!((captions.words.min, captions.words.median, captions.words.max), (2, 3, 5));
        // a, dog's, day, the (twice), dog (three times), ein, käfer, 2, dogs
        assert_eq!((captions.vocabulary, captions.seen_once), (9, 7));
        let text = found.to_string();
        for line in [
            "captions     3 images, such as \"A dog's day\"",
            "4 in all, 3 different; to an image 1 to 2, median 1; words 2 to 5, median 3",
            "vocabulary   9 words, 7 of them seen once",
            "without a caption, where others have one: 1 of 4 images",
            "captioned alike: 2 of 4 images, \"the dog\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("longer than"), "{text}");
    }

    #[test]
    fn what_is_wrong_with_captions_is_one_line_each() {
        let text = report(&[&["a photo"], &["a photo"], &["a photo"]]).to_string();
        assert!(text.contains("captioned alike: 3 of 3 images, \"a photo\""), "{text}");
        assert!(!text.contains("without a caption"), "{text}");
        let novel = "word ".repeat(10_000);
        let text = report(&[&["a cat"], &[novel.trim()]]).to_string();
        assert!(text.contains("longer than 60 words: 1 of 2 captions, up to 10000 words (1.png)"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 300), "{text}");
        let none = report(&[&[], &[]]);
        assert_eq!(none.captions, None);
        assert!(none.to_string().contains("captions     none\n"), "{none}");
    }
}
