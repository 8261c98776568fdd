//! Pictures that undiffuse itself has made, told by what they carry: sheets of many pictures are no data, and samples among
//! photographs are seldom meant to be.

use crate::png::{chunks, keyword};

/// Keyword of a sample's settings, which are JSON.
pub(crate) const SAMPLE: &str = "undiffuse";
/// Keyword of what a sheet shows.
const SHEET: &str = "undiffuse-sheet";
/// Both stand before the pixels, within this many bytes from the beginning.
pub(crate) const HEAD: u64 = 1 << 14;

/// What undiffuse has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// Many pictures on one, with or without words: a contact sheet, a grid, a strip, an animation.
    Sheet,
    /// One picture of a model.
    Sample,
}

/// The text for [`encode_png`](crate::encode_png) that marks a picture as one about pictures: a contact sheet, a grid, a
/// strip. Datasets leave such pictures out. `what` is its name in a word or two.
pub fn sheet_mark(what: &str) -> (String, String) {
    (SHEET.into(), what.into())
}

/// Whether the file at `path` is a sheet of ours ([`sheet_mark`]), which nobody minds being redrawn.
pub fn is_sheet(path: &std::path::Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let read = crate::files::open(path).is_ok_and(|file| file.take(HEAD).read_to_end(&mut head).is_ok());
    read && made(&head) == Some(Made::Sheet)
}

/// What a picture is, from the beginning of its file; nothing if undiffuse has not made it.
pub(crate) fn made(head: &[u8]) -> Option<Made> {
    let head = &head[..head.len().min(HEAD as usize)];
    match head.starts_with(b"\x89PNG") {
        true => {
            let before_pixels = || chunks(head).take_while(|(kind, _)| *kind != b"IDAT");
            let has = |word: &str| before_pixels().filter_map(keyword).any(|found| found == word.as_bytes());
            // A strip has the settings of its making as well.
            let sample = || has(SAMPLE).then_some(Made::Sample);
            if has(SHEET) { Some(Made::Sheet) } else { sample() }
        }
        false => {
            let comment = [b"\x21\xfe", &[SHEET.len() as u8][..], SHEET.as_bytes()].concat();
            let sheet = head.starts_with(b"GIF8") && head.windows(comment.len()).any(|bytes| bytes == comment);
            sheet.then_some(Made::Sheet)
        }
    }
}

/// The content of a GIF's comment that says the same as [`sheet_mark`].
pub(crate) fn gif_comment() -> &'static [u8] {
    SHEET.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, encode_png, gif};

    #[test]
    fn sheets_and_samples_are_known_from_their_beginning() {
        let image = Image::new(40, 40, 3, (0..4800u32).map(|i| (i * i % 251) as u8).collect());
        let png = |text: &[(String, String)]| encode_png(&image, text).unwrap();
        let sample = ("undiffuse".to_string(), "{}".to_string());
        let foreign = ("parameters".to_string(), "steps \u{3c3}".to_string());
        assert_eq!(made(&png(&[])), None);
        assert_eq!(made(&png(std::slice::from_ref(&foreign))), None);
        assert_eq!(made(&png(&[foreign.clone(), sample.clone()])), Some(Made::Sample));
        assert_eq!(made(&png(&[foreign, sheet_mark("contact sheet")])), Some(Made::Sheet));
        assert_eq!(made(&png(&[sample, sheet_mark("strip")])), Some(Made::Sheet));
        assert_eq!(made(&gif(&[image], 100).unwrap()), Some(Made::Sheet));
        for odd in [&b""[..], b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt", b"GIF89a"] {
            assert_eq!(made(odd), None);
        }
    }
}
