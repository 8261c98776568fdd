//! Between tensors in [−1, 1] and 8-bit pictures.

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_data::Image;

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
