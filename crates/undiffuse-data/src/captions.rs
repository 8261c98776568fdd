//! The captions of a dataset: each distinct one held once, and which of them each picture has.
//!
//! A table of bytes, so that millions of captions are mapped from a file instead of being allocated one by one:
//!
//! ```text
//! distinct (8) │ pictures (8) │ uses (8) │ where each text ends (8) │ where each picture's uses end (8) │ uses (4) │ texts
//! ```
//! All numbers are little-endian. A dataset without captions has no bytes.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use crate::bytes::Bytes;

/// Bytes of the three numbers at the beginning.
const HEADER: usize = 24;

/// The captions of a dataset. A caption is a number below [`distinct`](Self::distinct), so that what a text encoder makes of it
/// is made once, however many pictures have it.
#[derive(Debug, Default)]
pub struct Captions {
    bytes: Bytes,
    distinct: usize,
    pictures: usize,
    uses: usize,
}

impl Captions {
    /// How many different captions there are; 0 when no picture has one.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// The words of a caption.
    ///
    /// # Panics
    /// If `caption` is not below [`distinct`](Self::distinct).
    pub fn text(&self, caption: u32) -> &str {
        let k = caption as usize;
        assert!(k < self.distinct, "caption {k} of {}", self.distinct);
        let texts = self.texts();
        std::str::from_utf8(&texts[self.begin(HEADER, k)..self.end(HEADER, k)]).unwrap_or_default()
    }

    /// The captions of a picture, in the order in which its source gives them.
    pub fn of(&self, picture: usize) -> impl ExactSizeIterator<Item = u32> + Clone {
        let ends = HEADER + 8 * self.distinct;
        let uses = match picture < self.pictures {
            true => self.begin(ends, picture)..self.end(ends, picture),
            false => 0..0,
        };
        let first = ends + 8 * self.pictures;
        uses.map(move |k| u32::from_le_bytes(array(&self.bytes, first + 4 * k)))
    }

    /// What [`bytes`](Self::bytes) gave for a dataset of this many pictures; nothing if they are damaged.
    pub(crate) fn read(bytes: Bytes, pictures: usize) -> Option<Captions> {
        if bytes.is_empty() {
            return Some(Captions::default());
        }
        bytes.get(..HEADER)?;
        let number = |k: usize| usize::try_from(u64::from_le_bytes(array(&bytes, 8 * k))).ok();
        let (distinct, known, uses) = (number(0)?, number(1)?, number(2)?);
        let most = bytes.len() / 4;
        if known != pictures || distinct > most || pictures > most || uses > most {
            return None;
        }
        let captions = Captions { bytes, distinct, pictures, uses };
        captions.is_sound().then_some(captions)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all parts are there, ends grow, uses are captions, and texts are UTF-8 that ends where they do.
    fn is_sound(&self) -> bool {
        let [texts, pictures] = [HEADER, HEADER + 8 * self.distinct];
        let grow = |ends: usize, count: usize, last: usize| {
            (0..count).all(|k| self.begin(ends, k) <= self.end(ends, k))
                && count.checked_sub(1).map_or(0, |k| self.end(ends, k)) == last
        };
        let start = self.texts_start();
        start <= self.bytes.len()
            && grow(texts, self.distinct, self.texts().len())
            && grow(pictures, self.pictures, self.uses)
            && (0..self.pictures).flat_map(|i| self.of(i)).all(|caption| (caption as usize) < self.distinct)
            && std::str::from_utf8(self.texts())
                .is_ok_and(|all| (0..self.distinct).all(|k| all.is_char_boundary(self.end(texts, k))))
    }

    fn texts_start(&self) -> usize {
        HEADER + 8 * self.distinct + 8 * self.pictures + 4 * self.uses
    }

    fn texts(&self) -> &[u8] {
        &self.bytes[self.texts_start()..]
    }

    /// Where number `k` of a list ends, by the list of ends that is here.
    fn end(&self, ends: usize, k: usize) -> usize {
        u64::from_le_bytes(array(&self.bytes, ends + 8 * k)) as usize
    }

    fn begin(&self, ends: usize, k: usize) -> usize {
        k.checked_sub(1).map_or(0, |before| self.end(ends, before))
    }
}

/// The captions of each picture, as texts.
impl Serialize for Captions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = |i: usize| self.of(i).map(|caption| self.text(caption)).collect::<Vec<_>>();
        serializer.collect_seq((0..self.pictures).map(texts))
    }
}

/// Collects captions, picture after picture.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    numbers: HashMap<String, u32>,
    texts: Vec<u8>,
    text_ends: Vec<u64>,
    use_ends: Vec<u64>,
    uses: Vec<u32>,
}

impl Collected {
    /// Adds the next picture's.
    pub fn push(&mut self, captions: Vec<String>) {
        for caption in captions {
            let next = self.text_ends.len() as u32;
            let (texts, ends) = (&mut self.texts, &mut self.text_ends);
            self.uses.push(*self.numbers.entry(caption).or_insert_with_key(|caption| {
                texts.extend(caption.as_bytes());
                ends.push(texts.len() as u64);
                next
            }));
        }
        self.use_ends.push(self.uses.len() as u64);
    }

    /// Everything in one table.
    pub fn finish(self) -> Captions {
        if self.uses.is_empty() {
            return Captions::default();
        }
        let (distinct, pictures, uses) = (self.text_ends.len(), self.use_ends.len(), self.uses.len());
        let header = [distinct, pictures, uses].map(|n| n as u64);
        let numbers = header.iter().chain(&self.text_ends).chain(&self.use_ends);
        let mut bytes: Vec<u8> = numbers.flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(self.uses.iter().flat_map(|caption| caption.to_le_bytes()));
        bytes.extend(self.texts);
        Captions { bytes: Bytes::Owned(bytes), distinct, pictures, uses }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: &[&[&str]] = &[&["a cat", "ein Kätzchen"], &[], &["a dog"], &["a cat", "猫", "a dog"], &[]];

    fn collected() -> Captions {
        let mut collected = Collected::default();
        for captions in PICTURES {
            collected.push(captions.iter().map(|caption| caption.to_string()).collect());
        }
        collected.finish()
    }

    fn read(bytes: &[u8]) -> Option<Captions> {
        Captions::read(Bytes::Owned(bytes.to_vec()), PICTURES.len())
    }

    #[test]
    fn captions_come_back_and_each_is_held_once() {
        let made = collected();
        for captions in [&read(made.bytes()).unwrap(), &made] {
            assert_eq!(captions.distinct(), 4);
            for (i, expected) in PICTURES.iter().enumerate() {
                let found: Vec<&str> = captions.of(i).map(|caption| captions.text(caption)).collect();
                assert_eq!(found, *expected);
            }
            assert_eq!(captions.of(0).next(), captions.of(3).next());
            assert_eq!(captions.of(PICTURES.len()).len(), 0);
        }
        let json = serde_json::to_string(&made).unwrap();
        assert_eq!(json, r#"[["a cat","ein Kätzchen"],[],["a dog"],["a cat","猫","a dog"],[]]"#);
        assert_eq!(serde_json::to_string(&Captions::default()).unwrap(), "[]");
    }

    #[test]
    fn damaged_tables_are_refused_or_read_without_a_panic() {
        let whole = collected().bytes().to_vec();
        assert!(Captions::read(Bytes::Owned(whole.clone()), PICTURES.len() + 1).is_none());
        for end in 1..whole.len() {
            assert!(read(&whole[..end]).is_none(), "{end}");
        }
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let Some(captions) = read(&broken) else { continue };
                let read: usize =
                    (0..PICTURES.len()).flat_map(|i| captions.of(i)).map(|k| captions.text(k).len()).sum();
                assert!(read < 10 * whole.len());
            }
        }
    }
}
