//! One encoded picture → one [`Image`]: any format, any bit depth, any orientation.
//!
//! What is *not* applied: embedded colour profiles (pixels are taken as sRGB, as the field's other loaders do).

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::{DataError, Image, Options, files};

/// A picture format that is read.
#[derive(Debug)]
pub struct Format {
    /// Its name, as reports print it.
    pub name: &'static str,
    /// File name endings, lower case.
    pub extensions: &'static [&'static str],
    format: ImageFormat,
}

/// Every format that is read. Files are recognised by their content; the ending only makes a file a candidate.
pub const FORMATS: &[Format] = &[
    Format { name: "PNG", extensions: &["png", "apng"], format: ImageFormat::Png },
    Format { name: "JPEG", extensions: &["jpg", "jpeg", "jpe", "jfif"], format: ImageFormat::Jpeg },
    Format { name: "WebP", extensions: &["webp"], format: ImageFormat::WebP },
    Format { name: "GIF", extensions: &["gif"], format: ImageFormat::Gif },
    Format { name: "BMP", extensions: &["bmp", "dib"], format: ImageFormat::Bmp },
    Format { name: "PNM", extensions: &["pnm", "pbm", "pgm", "ppm", "pam"], format: ImageFormat::Pnm },
    Format { name: "TIFF", extensions: &["tif", "tiff"], format: ImageFormat::Tiff },
];

/// Picture formats that are known but not read: such files are named as skipped, never passed over in silence.
const UNREAD: &[&str] =
    &["heic", "heif", "avif", "jxl", "jp2", "psd", "svg", "ico", "tga", "exr", "hdr", "qoi", "dng", "raw"];

/// Whether a file with this ending (lower case, no dot) is taken for a picture.
pub fn is_image_extension(extension: &str) -> bool {
    FORMATS.iter().any(|f| f.extensions.contains(&extension)) || UNREAD.contains(&extension)
}

/// The formats by name: `"PNG, JPEG, …"`.
pub fn format_names() -> String {
    FORMATS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

/// A decoded picture and where it came from.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Upright, without alpha; 1 channel when every pixel is grey, otherwise 3.
    pub image: Image,
    /// Index into [`FORMATS`].
    pub format: usize,
}

/// Why a picture cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The content is of no known picture format.
    #[error("not an image that can be read ({0}); convert it to PNG or JPEG")]
    Unknown(String),
    /// The content breaks off or contradicts itself.
    #[error("damaged {format}: {problem}")]
    Damaged {
        /// Name of the format.
        format: &'static str,
        /// The decoder's words.
        problem: String,
    },
    /// The picture is larger than [`Limits`](crate::Limits) allow.
    #[error("{width}x{height} pixels, more than the limit of {limit} million; make it smaller")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit, in millions of pixels.
        limit: u64,
    },
    /// The file is larger than [`Limits`](crate::Limits) allow.
    #[error("{bytes} bytes, more than the limit of {limit}; make it smaller")]
    TooLong {
        /// Size of the encoded picture.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Decoding would take more memory than [`Limits`](crate::Limits) allow.
    #[error("{format} that takes more than the limit of {} to decode; make it smaller", crate::memory::human(*.limit))]
    TooMuchMemory {
        /// Name of the format.
        format: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The picture is whole, but of a kind that its format has and nothing here reads.
    #[error("{format} of a kind that is not read ({problem}); convert it to a PNG or JPEG of 8 bits")]
    Unread {
        /// Name of the format.
        format: &'static str,
        /// What is unusual about it.
        problem: String,
    },
    /// The picture has no pixels.
    #[error("{width}x{height} pixels: empty")]
    NoPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Width and height as they will be seen (after EXIF orientation), read from the header alone.
///
/// # Errors
/// A longer file than is allowed, a format that is not read, a damaged header.
pub fn dimensions(bytes: &[u8], options: &Options) -> Result<(usize, usize), DecodeError> {
    if bytes.len() as u64 > options.limits.file {
        return Err(DecodeError::TooLong { bytes: bytes.len() as u64, limit: options.limits.file });
    }
    seek_dimensions(Cursor::new(bytes), options)
}

/// As [`dimensions`], reading no more of the file than its header.
pub(crate) fn file_dimensions(file: std::fs::File, options: &Options) -> Result<(usize, usize), DecodeError> {
    seek_dimensions(std::io::BufReader::new(file), options)
}

fn seek_dimensions(input: impl BufRead + Seek, options: &Options) -> Result<(usize, usize), DecodeError> {
    let Opened { mut decoder, sound, .. } = open(input, options)?;
    let (width, height) = decoder.dimensions();
    let turned = sound && decoder.orientation().is_ok_and(|o| o.to_exif() >= 5);
    let (width, height) = if turned { (height, width) } else { (width, height) };
    Ok((width as usize, height as usize))
}

/// The EXIF data of a picture; `None` where it has none, or announces more than the file holds.
pub(crate) fn exif(bytes: &[u8], options: &Options) -> Result<Option<Vec<u8>>, DecodeError> {
    let Opened { mut decoder, sound, .. } = open(Cursor::new(bytes), options)?;
    Ok(if sound { decoder.exif_metadata().ok().flatten() } else { None })
}

impl Image {
    /// Reads and decodes one picture file: oriented, flattened, 8-bit; 1 channel when every pixel is grey.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no picture: see [`decode`].
    pub fn open(path: &Path, options: &Options) -> Result<Image, DataError> {
        let bytes = files::read(path, options.limits.file).map_err(|e| DataError::io(path, e.source))?;
        let decoded = decode(&bytes, options)
            .map_err(|e| DataError::Image { path: path.to_path_buf(), reason: e.to_string() })?;
        Ok(decoded.image)
    }
}

/// Decodes one picture.
///
/// Bit depths: 16-bit and floating-point samples are rounded to 8 bits, 1- to 4-bit ones and palettes are expanded.
/// Orientation: the EXIF tag of JPEG, PNG, WebP and TIFF is applied. Alpha is flattened on `options.background`.
/// Animations give their first frame. CMYK JPEGs become RGB.
///
/// # Errors
/// A file that is too long, no picture of a known format, damaged, or larger than is allowed.
pub fn decode(bytes: &[u8], options: &Options) -> Result<Decoded, DecodeError> {
    if bytes.len() as u64 > options.limits.file {
        return Err(DecodeError::TooLong { bytes: bytes.len() as u64, limit: options.limits.file });
    }
    let Opened { format, mut decoder, sound } = open(Cursor::new(bytes), options)?;
    if FORMATS[format].format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        let problem = "the file ends before the picture does (no end-of-image marker)".to_string();
        return Err(DecodeError::Damaged { format: "JPEG", problem });
    }
    // A broken EXIF block is no reason to refuse the picture.
    let orientation = if sound { decoder.orientation().ok() } else { None };
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| refusal(e, format, options))?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let color = picture.color();
    let image = match (color.has_alpha(), color.has_color()) {
        (true, _) => Image { width, height, channels: 4, pixels: picture.into_rgba8().into_raw() },
        (false, true) => Image { width, height, channels: 3, pixels: picture.into_rgb8().into_raw() },
        (false, false) => Image { width, height, channels: 1, pixels: picture.into_luma8().into_raw() },
    };
    let image = image.flatten(options.background);
    let image = if image.is_grey() { image.to_grey() } else { image };
    Ok(Decoded { image, format })
}

/// A picture whose header has been read.
struct Opened<D> {
    /// Index into [`FORMATS`].
    format: usize,
    decoder: D,
    /// Whether the file has room for all that it announces. If not, only its pixels are read: decoders make room for what
    /// describes a picture by its word alone.
    sound: bool,
}

/// The decoder for `input`, after every check that needs no more than the header.
fn open<'a, R: BufRead + Seek + 'a>(
    mut input: R,
    options: &Options,
) -> Result<Opened<impl ImageDecoder + use<'a, R>>, DecodeError> {
    let limits = &options.limits;
    let mut head = Vec::new();
    let sniffed = input.by_ref().take(64).read_to_end(&mut head).and_then(|_| input.rewind());
    sniffed.map_err(|e| DecodeError::Unknown(e.to_string()))?;
    let format = ::image::guess_format(&head)
        .ok()
        .and_then(|sniffed| FORMATS.iter().position(|f| f.format == sniffed))
        .ok_or_else(|| DecodeError::Unknown(describe(&head)))?;
    let sound = FORMATS[format].format != ImageFormat::WebP || webp_is_sound(&mut input).unwrap_or(false);
    let mut reader = ImageReader::with_format(input, FORMATS[format].format);
    let mut allowed = ::image::Limits::default();
    allowed.max_alloc = Some(limits.memory);
    reader.limits(allowed);
    let decoder = reader.into_decoder().map_err(|e| refusal(e, format, options))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(DecodeError::NoPixels { width, height });
    }
    if width as u64 * height as u64 > limits.pixels {
        return Err(DecodeError::TooLarge { width, height, limit: limits.pixels / 1_000_000 });
    }
    // Decoders hold their own buffers to the limit, but not the picture that they return.
    if decoder.total_bytes() > limits.memory {
        return Err(DecodeError::TooMuchMemory { format: FORMATS[format].name, limit: limits.memory });
    }
    Ok(Opened { format, decoder, sound })
}

/// Whether every chunk of a WebP file ends before the file does.
fn webp_is_sound(input: &mut (impl Read + Seek)) -> std::io::Result<bool> {
    let end = input.seek(SeekFrom::End(0))?;
    let mut at = 12;
    while at + 8 <= end {
        let mut header = [0; 8];
        input.seek(SeekFrom::Start(at))?;
        input.read_exact(&mut header)?;
        let [.., a, b, c, d] = header;
        // Chunks begin at even places.
        at += 8 + u64::from(u32::from_le_bytes([a, b, c, d])).next_multiple_of(2);
    }
    input.rewind()?;
    // The last byte may be missing where it only fills up.
    Ok(at <= end + 1)
}

/// What bytes that no decoder takes look like.
fn describe(bytes: &[u8]) -> String {
    const SIGNS: &[(usize, &[u8], &str)] = &[
        (4, b"ftypheic", "HEIC"),
        (4, b"ftypheix", "HEIC"),
        (4, b"ftypmif1", "HEIF"),
        (4, b"ftypavif", "AVIF"),
        (0, b"\xff\x0a", "JPEG XL"),
        (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
        (0, b"8BPS", "Photoshop"),
        (0, b"<svg", "SVG"),
        (0, b"<?xml", "XML or SVG"),
        (0, b"<!DOCTYPE", "a web page"),
        (0, b"<html", "a web page"),
        (0, b"%PDF", "PDF"),
        (0, b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    ];
    let known = SIGNS.iter().find(|(at, sign, _)| bytes.get(*at..).is_some_and(|b| b.starts_with(sign)));
    match (bytes.len(), known) {
        (0, _) => "the file is empty".into(),
        (_, Some((_, _, name))) => (*name).into(),
        _ => "unknown content".into(),
    }
}

/// What a decoder's refusal means: damage, a limit, or a kind of picture that it does not know.
fn refusal(error: ImageError, format: usize, options: &Options) -> DecodeError {
    let format = FORMATS[format].name;
    match &error {
        ImageError::Limits(_) => DecodeError::TooMuchMemory { format, limit: options.limits.memory },
        ImageError::Unsupported(_) => {
            let problem = words(&error).unwrap_or("unusual samples, colours or compression".into());
            DecodeError::Unread { format, problem }
        }
        _ => DecodeError::Damaged { format, problem: words(&error).unwrap_or("it contradicts itself".into()) },
    }
}

/// The decoder's words in one line, where they are words.
fn words(error: &ImageError) -> Option<String> {
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix("Format error decoding ").and_then(|t| t.split_once(": ")).map_or(&*text, |(_, t)| t);
    let lower = text.to_lowercase();
    if lower.contains("crc") || lower.contains("checksum") {
        return Some("a checksum does not match: part of it was changed or lost".into());
    }
    if lower.contains("unexpected end") || lower.contains("failed to fill") || lower.contains("eof") {
        return Some("it ends too early".into());
    }
    // Braces and brackets after a name are how programs show their values to programmers.
    let shown = |pair: &[u8]| pair[0].is_ascii_alphanumeric() && matches!(pair[1], b'(' | b'[');
    let plain = !text.contains(['{', '}']) && !text.as_bytes().windows(2).any(shown);
    (plain && !text.is_empty() && !text.contains(char::is_control)).then(|| text.trim_end_matches('.').to_owned())
}

/// Whether the marker stream of the first picture reaches its end-of-image marker [ITU-T T.81, Annex B].
///
/// Decoders fill the missing part of a truncated JPEG with grey without a word; a model would learn the grey.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[first, marker]) = bytes.get(at..at + 2).and_then(|b| b.first_chunk::<2>()) {
        match (first, marker) {
            (0xff, 0xd9) => return true,
            // Fill bytes, stuffed zeros and restart markers belong to the stream.
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + u16::from_be_bytes([high, low]) as usize,
                _ => return false,
            },
            // Entropy-coded data: on to the next marker.
            _ => match bytes[at..].iter().position(|&b| b == 0xff) {
                Some(distance) => at += distance,
                None => return false,
            },
        }
    }
    false
}
