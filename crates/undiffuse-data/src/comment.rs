//! Words that a picture carries about itself: the text chunks of PNGs, and the user comment in the EXIF data of any format,
//! where programs put the same for JPEGs and WebPs.

use serde_json::Value;

use crate::maker::SAMPLE;
use crate::png::{chunks, keyword};
use crate::{DataError, Options, decode, read_png_text};

/// What [`read_texts`] calls a user comment.
pub const COMMENT: &str = "UserComment";

/// The tag of the directory for photographs, and of the user comment there \[CIPA DC-008, 4.6.3, 4.6.5\].
const PHOTOGRAPHS: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;

/// The words in a picture by what they are called there: a PNG's texts by their keywords, a user comment as [`COMMENT`].
///
/// # Errors
/// No picture of a known format, a damaged or too large one, and what [`read_png_text`] refuses.
pub fn read_texts(bytes: &[u8], options: &Options) -> Result<Vec<(String, String)>, DataError> {
    let mut texts = match bytes.starts_with(b"\x89PNG") {
        true => read_png_text(bytes)?,
        false => Vec::new(),
    };
    let exif = decode::exif(bytes, options).map_err(|e| DataError::corrupt("picture".as_ref(), e.to_string()))?;
    texts.extend(exif.as_deref().and_then(user_comment).map(|comment| (COMMENT.to_owned(), comment)));
    Ok(texts)
}

/// The keywords of a PNG's texts that say what it shows \[PNG, third edition, 11.3.3\].
const TITLES: &[&str] = &["Title", "Description"];

/// What a PNG says that it shows: the words it was made from, where undiffuse made it from words; otherwise its title and its
/// description. Nothing where its texts cannot be read.
pub(crate) fn captions(bytes: &[u8]) -> Vec<String> {
    let telling = |word: &[u8]| [SAMPLE].iter().chain(TITLES).any(|known| known.as_bytes() == word);
    if !chunks(bytes).filter_map(keyword).any(telling) {
        return Vec::new();
    }
    let texts = read_png_text(bytes).unwrap_or_default();
    let of = |known: &str| -> Vec<String> {
        let known = texts.iter().filter(|(word, _)| word == known);
        known.map(|(_, text)| text.trim().to_owned()).collect()
    };
    let mut captions = match of(SAMPLE).iter().find_map(|settings| prompt(settings)) {
        Some(prompt) => vec![prompt],
        None => TITLES.iter().flat_map(|word| of(word)).collect(),
    };
    captions.retain(|caption| !caption.is_empty());
    captions.dedup();
    captions
}

/// The words that a picture with these settings was made from.
fn prompt(settings: &str) -> Option<String> {
    match serde_json::from_str::<Value>(settings).ok()?.get_mut("prompt")?.take() {
        Value::String(prompt) => Some(prompt),
        _ => None,
    }
}

/// The user comment in EXIF data, which are a TIFF file.
fn user_comment(exif: &[u8]) -> Option<String> {
    let tiff = Tiff::new(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))?;
    let photographs = tiff.entry(tiff.u32(4)?, PHOTOGRAPHS)?;
    let comment = tiff.entry(tiff.u32(photographs + 8)?, USER_COMMENT)?;
    let (length, at) = (tiff.u32(comment + 4)?, comment + 8);
    // Four bytes stand in the place of their address.
    let at = if length > 4 { tiff.u32(at)? } else { at };
    let (code, words) = tiff.bytes.get(at..at.checked_add(length)?)?.split_first_chunk::<8>()?;
    let words = match code {
        b"UNICODE\0" => utf16(words, tiff.little),
        b"ASCII\0\0\0" | b"\0\0\0\0\0\0\0\0" => String::from_utf8_lossy(words).into_owned(),
        _ => return None,
    };
    let words = words.trim_end_matches(['\0', ' ']);
    (!words.is_empty()).then(|| words.to_owned())
}

/// UTF-16 in the byte order that makes more of it ASCII, the file's own where both do: some programs write the other one.
fn utf16(bytes: &[u8], little: bool) -> String {
    let units = |little: bool| -> Vec<u16> {
        let unit = |pair: &[u8; 2]| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
        bytes.as_chunks().0.iter().map(unit).collect()
    };
    let ascii = |units: &[u16]| units.iter().filter(|&&unit| (1..128).contains(&unit)).count();
    let (own, other) = (units(little), units(!little));
    let units = if ascii(&other) > ascii(&own) { other } else { own };
    String::from_utf16_lossy(&units).trim_start_matches('\u{feff}').to_owned()
}

/// The directories of a TIFF file \[TIFF 6.0, section 2\].
struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first_chunk()? {
            b"II*\0" => Some(Self { bytes, little: true }),
            b"MM\0*" => Some(Self { bytes, little: false }),
            _ => None,
        }
    }

    fn take<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.take(at)?;
        Some(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<usize> {
        let bytes = self.take(at)?;
        let number = if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        usize::try_from(number).ok()
    }

    /// Where the entry of a tag is, in the directory at this place.
    fn entry(&self, directory: usize, tag: u16) -> Option<usize> {
        let count = usize::from(self.u16(directory)?);
        let mut entries = (0..count).map(|k| directory + 2 + 12 * k);
        entries.find(|&at| self.u16(at) == Some(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with this comment, in either byte order.
    fn exif(little: bool, comment: &[u8]) -> Vec<u8> {
        let two = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let four = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut bytes = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        bytes.extend(four(8));
        for (tag, kind, count, value) in [(PHOTOGRAPHS, 4, 1, 26), (USER_COMMENT, 7, comment.len() as u32, 44)] {
            bytes.extend([two(1), two(tag), two(kind)].concat());
            bytes.extend([four(count), four(value), four(0)].concat());
        }
        [&bytes, comment].concat()
    }

    #[test]
    fn comments_in_every_code_and_order() {
        let cat = "\u{732b}, steps: 3";
        for little in [false, true] {
            for other in [false, true] {
                let units = cat.encode_utf16();
                let words: Vec<u8> =
                    units.flat_map(|unit| if other { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect();
                let comment = [b"UNICODE\0", &words[..]].concat();
                assert_eq!(user_comment(&exif(little, &comment)).as_deref(), Some(cat), "{little} {other}");
            }
            let read = |comment: &[u8]| user_comment(&exif(little, comment));
            assert_eq!(read(b"ASCII\0\0\0a cat\0\0").as_deref(), Some("a cat"));
            assert_eq!(read("\0\0\0\0\0\0\0\0\u{e4}".as_bytes()).as_deref(), Some("\u{e4}"));
            for nothing in [&b"UNICODE\0"[..], b"JIS\0\0\0\0\0abc", b"UNI", b"ASCII\0\0\0\0\0\0"] {
                assert_eq!(read(nothing), None, "{nothing:?}");
            }
        }
    }

    #[test]
    fn pictures_say_what_they_show() {
        let png = |texts: &[(&str, &str)]| {
            let texts: Vec<_> = texts.iter().map(|(word, text)| (word.to_string(), text.to_string())).collect();
            captions(&crate::encode_png(&crate::Image::filled(2, 2, &[3]), &texts).unwrap())
        };
        let made = r#"{"prompt": "a red heart", "seed": 3}"#;
        assert_eq!(png(&[("Title", "x"), ("undiffuse", made)]), ["a red heart"]);
        assert_eq!(
            png(&[("Description", "a long\ntail"), ("Title", " Fox \u{3c3} ")]),
            ["Fox \u{3c3}", "a long\ntail"]
        );
        assert_eq!(png(&[("Title", "Fox"), ("undiffuse", r#"{"class": "fox"}"#)]), ["Fox"]);
        assert_eq!(png(&[("Title", "Fox"), ("Description", "Fox")]), ["Fox"]);
        for nothing in [&[("Comment", "x"), ("Author", "y")][..], &[("Title", " ")], &[("undiffuse", "{")], &[]] {
            assert_eq!(png(nothing), [""; 0], "{nothing:?}");
        }
        assert_eq!(captions(b"GIF89a"), [""; 0]);
    }

    #[test]
    fn damaged_exif_data_have_no_comment() {
        let whole = exif(true, b"ASCII\0\0\0a cat");
        for end in 0..whole.len() {
            assert_eq!(user_comment(&whole[..end]), None, "{end}");
        }
        for at in 0..56 {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            user_comment(&broken);
        }
    }
}
