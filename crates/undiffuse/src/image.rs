//! Between tensors in [−1, 1] and 8-bit pictures, and between these and words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_data::{Image, Options, decode, encode_png};

/// How the word for a picture begins.
pub const URL: &str = "data:image/";
const PNG: &str = "data:image/png;base64,";
const BASE64: &str = ";base64,";

/// `[B, C, H, W]` in [−1, 1] → pictures: `round((x + 1) · 127.5)`, clamped.
pub fn to_images(x: Tensor<4>) -> Vec<Image> {
    let [_, c, h, w] = x.dims();
    let values = x.into_data().try_into_vec_as::<f32>().expect("pictures are float tensors");
    values.chunks(c * h * w).map(|image| Image::from_chw(w, h, c, image)).collect()
}

/// A picture → `[1, C, H, W]` in [−1, 1].
pub fn from_image(image: &Image, device: &Device) -> Tensor<4> {
    let Image { width, height, channels, ref pixels } = *image;
    let plane = width * height;
    let values: Vec<f32> =
        (0..channels * plane).map(|i| pixels[i % plane * channels + i / plane] as f32 / 127.5 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [1, channels, height, width]), device)
}

/// A picture as a word: the URL `data:image/png;base64,…`, which [`from_url`] reads as the same picture.
pub fn to_url(image: &Image) -> String {
    let png = encode_png(image, &[]).expect("a picture of pixels is written to memory");
    format!("{PNG}{}", STANDARD.encode(png))
}

/// The picture that a URL `data:image/…;base64,…` holds, in any format that is read.
///
/// # Errors
/// Other words, and what holds no picture.
pub fn from_url(word: &str) -> Result<Image, String> {
    let text = word.strip_prefix(URL).and_then(|rest| rest.split_once(BASE64));
    let (_, text) = text.ok_or_else(|| format!("a picture in a request is written {PNG}…"))?;
    let bytes = STANDARD.decode(text).map_err(|e| format!("a picture's URL is no base64: {e}"))?;
    let options = Options::default();
    let decoded = decode::decode(&bytes, &options).map_err(|e| format!("a picture's URL: {e}"))?;
    Ok(decoded.image)
}
