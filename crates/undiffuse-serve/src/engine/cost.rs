//! What an evaluation of a network costs, for networks of any size and pictures of any size.

use undiffuse::codec::Codec;
use undiffuse::nn::NetworkConfig;

/// What a picture of these sides costs, in pictures of the model's `own` sides.
pub fn relative(config: &NetworkConfig, own: [usize; 2], sides: [usize; 2]) -> f64 {
    config.multiplications(sides) / config.multiplications(own).max(1.0)
}

/// The side of the largest square picture that costs no more than `most` of the model's own and has no more than so many
/// pixels; no smaller than the model's own smaller side. `own` is the shape `[C, H, W]` of what the model diffuses.
pub fn largest_square(
    config: &NetworkConfig,
    codec: &dyn Codec,
    [channels, height, width]: [usize; 3],
    most: usize,
    pixels: usize,
) -> usize {
    let step = config.stride();
    let picture = |side: usize| codec.picture_shape([channels, side, side]).map_or(usize::MAX, |[_, side, _]| side);
    let fits = |side: usize| {
        let cost = relative(config, [height, width], [side, side]);
        picture(side).saturating_mul(picture(side)) <= pixels && cost <= most as f64
    };
    let least = height.min(width);
    // Costs rise with the side.
    let (mut low, mut high) = (least / step, pixels.isqrt() / step + 1);
    while high > low + 1 {
        let middle = low + (high - low) / 2;
        if fits(middle * step) { low = middle } else { high = middle }
    }
    picture((low * step).max(least))
}

#[cfg(test)]
mod tests {
    use undiffuse::codec::AnyCodec;
    use undiffuse::nn::networks::unet2d::{DownBlockType, UNet2DConfig, UpBlockType};

    use super::*;

    /// A network of one stage without attention costs as many pictures of 8x8 as its own are larger.
    #[test]
    fn squares_grow_with_what_is_allowed() {
        let plain: NetworkConfig = UNet2DConfig {
            block_out_channels: vec![8],
            down_block_types: vec![DownBlockType::DownBlock2D],
            up_block_types: vec![UpBlockType::UpBlock2D],
            mid_block_type: None,
            ..UNet2DConfig::default()
        }
        .into();
        assert_eq!(relative(&plain, [8, 8], [32, 16]), 8.0);
        assert!(relative(&plain, [8, 8], [1 << 40, 1 << 40]).is_finite());
        assert!(relative(&plain, [8, 8], [usize::MAX, usize::MAX]) > 1e30);
        let codec = AnyCodec::default();
        assert_eq!(largest_square(&plain, &*codec, [3, 8, 8], 16, 1 << 20), 32);
        assert_eq!(largest_square(&plain, &*codec, [3, 8, 8], 16, 400), 20);
        assert_eq!(largest_square(&plain, &*codec, [3, 8, 8], 1, 9), 8);
    }
}
