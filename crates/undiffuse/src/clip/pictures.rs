//! How pictures enter an image encoder: transformers' `preprocessor_config.json`.

use serde::{Deserialize, Serialize};
use undiffuse_data::Image;
use undiffuse_data::transform::{Filter, resize_by};

/// What CLIP's own pictures are standardised by, channel by channel.
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
/// Pillow's number of a bicubic filter.
const BICUBIC: u8 = 3;

/// How pictures enter an image encoder: resized until their shorter side is `shortest_edge`, cut to the middle, and then
/// `(value / 255 - mean) / std`. Fields, names and defaults are those of transformers' `CLIPImageProcessor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PictureReading {
    do_resize: bool,
    size: Edge,
    resample: u8,
    do_center_crop: bool,
    crop_size: Sides,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: Vec<f64>,
    image_std: Vec<f64>,
    do_convert_rgb: bool,
    image_processor_type: String,
}

/// What pictures are resized to: by their shorter side, a number alone in older files, or both sides by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Edge {
    Shortest { shortest_edge: usize },
    Number(usize),
    Sides { height: usize, width: usize },
}

/// Both sides; a number alone in older files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Sides {
    Both { height: usize, width: usize },
    Number(usize),
}

/// Of CLIP's own pictures.
impl Default for PictureReading {
    fn default() -> Self {
        Self {
            do_resize: true,
            size: Edge::Shortest { shortest_edge: 224 },
            resample: BICUBIC,
            do_center_crop: true,
            crop_size: Sides::Both { height: 224, width: 224 },
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: MEAN.to_vec(),
            image_std: STD.to_vec(),
            do_convert_rgb: true,
            image_processor_type: "CLIPImageProcessor".into(),
        }
    }
}

impl PictureReading {
    /// Parses and checks a `preprocessor_config.json`.
    ///
    /// # Errors
    /// Text that is none, or what this program does not do with pictures.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|e| format!("it says nothing of pictures: {e}"))?;
        if !(read.do_resize && read.do_center_crop && read.do_rescale && read.do_normalize) {
            return Err("pictures that are not resized, cut to the middle, rescaled and normalised are not read".into());
        }
        if read.filter().is_none() {
            let known = "1 (Lanczos), 2 (bilinear) and 3 (bicubic) are known";
            return Err(format!("resample = {}: {known}", read.resample));
        }
        let sound = |std: &f64| std.is_finite() && *std > 0.0;
        if read.image_mean.len() != read.image_std.len() || !read.image_std.iter().all(sound) {
            return Err("image_mean and image_std: a number for each channel is expected, and no deviation of 0".into());
        }
        Ok(read)
    }

    /// The text of a `preprocessor_config.json`.
    pub(crate) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("numbers and names serialise");
        text + "\n"
    }

    /// Pictures `[C, H, W]` as a training has them: in [-1, 1], and untouched at their own size.
    pub fn of_training([channels, side, width]: [usize; 3]) -> Self {
        debug_assert_eq!(side, width);
        Self {
            size: Edge::Shortest { shortest_edge: side },
            crop_size: Sides::Both { height: side, width: side },
            image_mean: vec![0.5; channels],
            image_std: vec![0.5; channels],
            do_convert_rgb: channels == 3,
            ..Self::default()
        }
    }

    /// Whether an encoder takes pictures that are read so.
    pub(super) fn fits(&self, [channels, height, width]: [usize; 3]) -> Result<(), String> {
        let (cut, least) = (self.cut(), self.sides(1, 1));
        if cut != (height, width) {
            let (high, wide) = cut;
            return Err(format!(
                "pictures are cut to {wide}×{high} by preprocessor_config.json, and its image encoder takes {width}×{height}"
            ));
        }
        if least.0 < width || least.1 < height {
            let (wide, high) = least;
            return Err(format!("pictures are resized to {wide}×{high}, too small to be cut to {width}×{height}"));
        }
        match self.image_mean.len() == channels && matches!(channels, 1 | 3) {
            true => Ok(()),
            false => Err(format!(
                "its image encoder takes {channels} channels, and preprocessor_config.json has {} means: both 1 or both 3 \
                 are read",
                self.image_mean.len()
            )),
        }
    }

    fn filter(&self) -> Option<Filter> {
        match self.resample {
            1 => Some(Filter::Lanczos),
            2 => Some(Filter::Bilinear),
            BICUBIC => Some(Filter::Bicubic),
            _ => None,
        }
    }

    /// Width and height that a picture is resized to.
    fn sides(&self, width: usize, height: usize) -> (usize, usize) {
        let edge = match self.size {
            Edge::Sides { height, width } => return (width, height),
            Edge::Shortest { shortest_edge: edge } | Edge::Number(edge) => edge,
        };
        let long = edge * width.max(height) / width.min(height).max(1);
        if width <= height { (edge, long) } else { (long, edge) }
    }

    /// Height and width.
    fn cut(&self) -> (usize, usize) {
        match self.crop_size {
            Sides::Both { height, width } => (height, width),
            Sides::Number(side) => (side, side),
        }
    }

    /// The picture at the size that the encoder takes.
    fn resized(&self, picture: &Image) -> Image {
        let (width, height) = self.sides(picture.width, picture.height);
        let resized = resize_by(self.filter().unwrap_or(Filter::Bicubic), picture, width, height);
        let (high, wide) = self.cut();
        resized.crop((width - wide) / 2, (height - high) / 2, wide, high)
    }

    /// A picture as the encoder reads it, `[C, H, W]` flat.
    pub(super) fn values(&self, picture: &Image, channels: usize) -> Vec<f32> {
        let picture = self.resized(&picture.clone().flatten([255; 3]).to_channels(channels));
        let value =
            |c: usize, v: u8| ((f64::from(v) * self.rescale_factor - self.image_mean[c]) / self.image_std[c]) as f32;
        let plane = |c: usize| picture.pixels.iter().skip(c).step_by(channels).map(move |&v| value(c, v));
        (0..channels).flat_map(plane).collect()
    }
}
