//! What an evaluation of a network costs, for networks of any size and pictures of any size.

use undiffuse::nn::UNet2DConfig;
use undiffuse::nn::unet::{DownBlockType, MidBlockType, UpBlockType};

/// Multiplications for one picture of these sides, in convolutions and attention: an estimate for comparisons. In floating
/// point, so that no size is too large for it.
pub fn evaluation(config: &UNet2DConfig, [height, width]: [usize; 2]) -> f64 {
    let channels: Vec<f64> = config.block_out_channels.iter().map(|&c| c as f64).collect();
    let pixels = |level: usize| {
        let side = |side: usize| (side >> level.min(63)).max(1) as f64;
        side(height) * side(width)
    };
    // Two convolutions of 3x3.
    let residual = |from: f64, to: f64, n: f64| 9.0 * (from * to + to * to) * n;
    // Four projections; every pixel looks at every other.
    let attention = |c: f64, n: f64| 4.0 * c * c * n + 2.0 * c * n * n;
    let layers = config.layers_per_block as f64;
    let last = channels.len().saturating_sub(1);
    let mut sum = 0.0;
    for (level, &c) in channels.iter().enumerate() {
        let n = pixels(level);
        let outer = channels[level.saturating_sub(1)];
        sum += residual(outer, c, n) + (layers - 1.0).max(0.0) * residual(c, c, n);
        sum += (layers + 1.0) * residual(2.0 * c, c, n);
        if config.down_block_types.get(level) == Some(&DownBlockType::AttnDownBlock2D) {
            sum += layers * attention(c, n);
        }
        if config.up_block_types.get(last - level) == Some(&UpBlockType::AttnUpBlock2D) {
            sum += (layers + 1.0) * attention(c, n);
        }
    }
    if let (Some(MidBlockType::UNetMidBlock2D), Some(&c)) = (config.mid_block_type, channels.last()) {
        let n = pixels(last);
        sum += 2.0 * residual(c, c, n) + if config.add_attention { attention(c, n) } else { 0.0 };
    }
    sum
}

/// What a picture of these sides costs, in pictures of the model's `own` sides.
pub fn relative(config: &UNet2DConfig, own: [usize; 2], sides: [usize; 2]) -> f64 {
    evaluation(config, sides) / evaluation(config, own).max(1.0)
}

/// The side of the largest square that costs no more than `most` pictures of the model's own sides and has no more than so many
/// pixels; no smaller than the model's own smaller side.
pub fn largest_square(config: &UNet2DConfig, own: [usize; 2], most: usize, pixels: usize) -> usize {
    let step = 1usize << config.block_out_channels.len().saturating_sub(1).min(16);
    let fits = |side: usize| side.saturating_mul(side) <= pixels && relative(config, own, [side, side]) <= most as f64;
    let least = own[0].min(own[1]);
    // Costs rise with the side.
    let (mut low, mut high) = (least / step, pixels.isqrt() / step + 1);
    while high > low + 1 {
        let middle = low + (high - low) / 2;
        if fits(middle * step) { low = middle } else { high = middle }
    }
    (low * step).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One stage of 8 channels with one layer: 9(64+64) + 2·9(128+64) multiplications a pixel without attention.
    #[test]
    fn convolutions_grow_with_the_pixels_and_attention_with_their_square() {
        let plain = UNet2DConfig {
            block_out_channels: vec![8],
            layers_per_block: 1,
            down_block_types: vec![DownBlockType::DownBlock2D],
            up_block_types: vec![UpBlockType::UpBlock2D],
            mid_block_type: None,
            ..UNet2DConfig::default()
        };
        assert_eq!(evaluation(&plain, [4, 5]), 20.0 * (1152.0 + 3456.0));
        assert_eq!(relative(&plain, [8, 8], [32, 16]), 8.0);
        let attends = UNet2DConfig { down_block_types: vec![DownBlockType::AttnDownBlock2D], ..plain.clone() };
        let attention = |n: f64| 256.0 * n + 16.0 * n * n;
        assert_eq!(evaluation(&attends, [4, 5]) - evaluation(&plain, [4, 5]), attention(20.0));
        assert!(relative(&attends, [8, 8], [1 << 40, 1 << 40]).is_finite());
        assert!(relative(&attends, [8, 8], [usize::MAX, usize::MAX]) > 1e30);
        assert_eq!(largest_square(&plain, [8, 8], 16, 1 << 20), 32);
        assert_eq!(largest_square(&plain, [8, 8], 16, 400), 20);
        assert_eq!(largest_square(&plain, [8, 8], 1, 9), 8);
    }
}
