//! PNG writing and the text chunks that carry a picture's seed and settings.

use std::io::Cursor;

use crate::{DataError, Image};

/// The most that compressed texts of a PNG may have together, in bytes.
const TEXTS: usize = 16 << 20;

/// A PNG file of the picture, with one text chunk for each `(keyword, text)`.
///
/// Text in Latin-1 goes into `tEXt`, anything else into `iTXt` (UTF-8) [PNG, third edition, 11.3.3].
///
/// # Errors
/// [`DataError::Encode`] for a picture without pixels, or a keyword that PNG does not allow
/// (1 to 79 Latin-1 characters).
pub fn encode_png(image: &Image, text: &[(String, String)]) -> Result<Vec<u8>, DataError> {
    let fail = |e: png::EncodingError| DataError::Encode { what: "PNG", reason: e.to_string() };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width as u32, image.height as u32);
    encoder.set_color(match image.channels {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        _ => png::ColorType::Rgba,
    });
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in text {
        let (keyword, text) = (keyword.clone(), text.clone());
        match text.chars().all(|c| u8::try_from(c).is_ok()) {
            true => encoder.add_text_chunk(keyword, text).map_err(fail)?,
            false => encoder.add_itxt_chunk(keyword, text).map_err(fail)?,
        }
    }
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(&image.pixels).map_err(fail)?;
    writer.finish().map_err(fail)?;
    Ok(bytes)
}

/// The text chunks of a PNG file (`tEXt`, `zTXt` and `iTXt`), in the order of the file within each kind.
///
/// Compressed texts may have 16 MiB together: a few kilobytes can claim to be gigabytes.
///
/// # Errors
/// [`DataError::Encode`] is never returned; [`DataError::Corrupt`] says that the bytes are no PNG or end early, or that their
/// texts are too long.
pub fn read_png_text(bytes: &[u8]) -> Result<Vec<(String, String)>, DataError> {
    let fail = |e: png::DecodingError| DataError::corrupt("PNG".as_ref(), e.to_string());
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().map_err(fail)?;
    // Text may follow the pixels, so everything is read.
    reader.finish().map_err(fail)?;
    let info = reader.info();
    let mut text: Vec<(String, String)> = Vec::new();
    for chunk in &info.uncompressed_latin1_text {
        text.push((chunk.keyword.clone(), chunk.text.clone()));
    }
    let mut room = TEXTS;
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(room).map_err(fail)?;
        let unpacked = chunk.get_text().map_err(fail)?;
        // Latin-1: a byte a letter.
        room -= unpacked.chars().count().min(room);
        text.push((chunk.keyword, unpacked));
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        let packed = chunk.compressed;
        chunk.decompress_text_with_limit(room).map_err(fail)?;
        let unpacked = chunk.get_text().map_err(fail)?;
        room -= if packed { unpacked.len().min(room) } else { 0 };
        text.push((chunk.keyword, unpacked));
    }
    Ok(text)
}

/// The chunks of a PNG file, as their kinds and contents; none of anything else. Nothing is unpacked or checked, and a chunk that is
/// cut off ends with the file.
pub(crate) fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut left = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, chunk) = left.split_first_chunk::<4>()?;
        let (kind, rest) = chunk.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        // The checksum follows.
        left = rest.get(length.saturating_add(4)..).unwrap_or_default();
        Some((kind, &rest[..length.min(rest.len())]))
    })
}

/// The keyword of a chunk of text; nothing in other chunks.
pub(crate) fn keyword<'a>((kind, content): (&[u8; 4], &'a [u8])) -> Option<&'a [u8]> {
    [b"tEXt", b"zTXt", b"iTXt"].contains(&kind).then(|| content.split(|&b| b == 0).next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(k: &str, v: &str) -> (String, String) {
        (k.to_string(), v.to_string())
    }

    #[test]
    fn pixels_and_text_survive() {
        let image = Image::new(2, 2, 3, (0..12).map(|v| v * 20).collect());
        let text = [pair("seed", "7"), pair("words", "a café"), pair("note", "σ → 0")];
        let bytes = encode_png(&image, &text).unwrap();
        let kinds = |kind: &[u8]| bytes.windows(4).filter(|at| *at == kind).count();
        assert_eq!((kinds(b"tEXt"), kinds(b"iTXt")), (2, 1));
        let keywords: Vec<&[u8]> = chunks(&bytes).filter_map(keyword).collect();
        assert_eq!(keywords, [&b"seed"[..], b"words", b"note"]);
        assert_eq!(chunks(&bytes).map(|(kind, _)| kind).last(), Some(b"IEND"));
        (0..bytes.len()).for_each(|end| assert!(chunks(&bytes[..end]).count() <= chunks(&bytes).count()));
        assert_eq!(read_png_text(&bytes).unwrap(), text);
        let back = ::image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(back.as_raw(), &image.pixels);
    }

    #[test]
    fn long_text_and_bad_keywords() {
        let image = Image::filled(1, 1, &[3]);
        let long = "x".repeat(3_000_000);
        let bytes = encode_png(&image, &[pair("config", &long)]).unwrap();
        assert_eq!(read_png_text(&bytes).unwrap()[0].1.len(), long.len());
        assert!(encode_png(&image, &[pair("", "x")]).is_err());
        assert!(encode_png(&Image::filled(0, 0, &[1]), &[]).is_err());
    }

    #[test]
    fn packed_texts_have_an_end() {
        let packed = |lengths: &[usize]| {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
            encoder.set_color(png::ColorType::Grayscale);
            lengths.iter().for_each(|&n| encoder.add_ztxt_chunk("a".into(), "x".repeat(n)).unwrap());
            encoder.write_header().unwrap().write_image_data(&[3]).unwrap();
            bytes
        };
        let read = |lengths: &[usize]| {
            read_png_text(&packed(lengths)).map(|texts| texts.iter().map(|t| t.1.len()).sum::<usize>())
        };
        assert_eq!(read(&[9, TEXTS - 9]).ok(), Some(TEXTS));
        assert!(packed(&[TEXTS + 1]).len() < 100_000);
        assert!(read(&[TEXTS + 1]).is_err() && read(&[TEXTS / 2, TEXTS / 2, 1]).is_err());
    }

    #[test]
    fn no_png_is_an_error() {
        assert!(read_png_text(b"GIF89a").is_err());
        let whole = encode_png(&Image::filled(9, 9, &[3]), &[pair("a", "b")]).unwrap();
        assert!(read_png_text(&whole[..whole.len() / 2]).is_err());
    }
}
