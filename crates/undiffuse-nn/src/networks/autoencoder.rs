//! Autoencoders: pictures in, latents out, and back.

use burn::tensor::{Tensor, TensorData};

use super::io::multiples;
use super::{Autoencoder, AutoencoderConfig, ClassConfig, InputError};
use crate::ops::on_threads;

/// The shape of an autoencoder, seen from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderIo {
    /// Channels of the pictures that are encoded.
    pub channels_in: usize,
    /// Channels of the pictures that are decoded.
    pub channels_out: usize,
    /// Channels of latents.
    pub latent_channels: usize,
    /// Pixels of a latent's side.
    pub scale: usize,
    /// What [`Autoencoder::encode`] makes.
    pub code: Code,
    /// Side of the pictures that it was made for; diffusers' tiles are as large.
    pub sample_size: usize,
    /// A latent `z` is diffused as `(z − shift) · factor`: `[factor, shift]`.
    pub scaling: [f64; 2],
}

/// What an encoder says of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Its latent.
    Latents,
    /// The mean and the logarithm of the variance of its latent, `[B, 2 C, H, W]`, of a normal distribution \[Kingma14\].
    Moments,
}

/// What the config of an autoencoder says.
pub trait AutoencoderSpec: ClassConfig {
    /// What goes in and what comes out.
    fn io(&self) -> AutoencoderIo;

    /// Bytes of features that one picture `[C, H, W]` takes while it is decoded. An estimate, on the safe side; `u64::MAX`
    /// stands for more.
    fn features(&self, shape: [usize; 3]) -> u64;
}

/// An autoencoder.
pub trait Autoencode: Send + Sync {
    /// Pictures `[B, C, H, W]` in [−1, 1] → what the class says of them.
    fn encode(&self, x: Tensor<4>) -> Tensor<4>;

    /// Latents `[B, C, H, W]` → pictures.
    fn decode(&self, z: Tensor<4>) -> Tensor<4>;
}

impl AutoencoderConfig {
    /// Finds what [`Autoencoder::encode`] would panic on.
    ///
    /// # Errors
    /// Pictures `[B, C, H, W]` of other channels, or of sides that are not as many whole pixels of latents.
    pub fn check_picture(&self, [_, channels, height, width]: [usize; 4]) -> Result<(), InputError> {
        let AutoencoderIo { channels_in, scale, .. } = self.io();
        if channels != channels_in {
            return Err(InputError::Channels { got: channels, expected: channels_in });
        }
        multiples([height, width], scale)
    }

    /// Finds what [`Autoencoder::decode`] would panic on.
    ///
    /// # Errors
    /// Latents `[B, C, H, W]` of other channels, or without pixels.
    pub fn check_latents(&self, [_, channels, height, width]: [usize; 4]) -> Result<(), InputError> {
        let expected = self.io().latent_channels;
        if channels != expected {
            return Err(InputError::Channels { got: channels, expected });
        }
        multiples([height, width], 1)
    }
}

/// Share of a tile that the next one covers, too: diffusers' `tile_overlap_factor`.
const OVERLAP: f64 = 0.25;

impl Autoencoder {
    /// Pictures `[B, C, H, W]` in [−1, 1] → what [`AutoencoderIo::code`] says.
    ///
    /// # Panics
    /// When they do not fit; [`AutoencoderConfig::check_picture`] finds out first.
    pub fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        on_threads(|| self.inner().encode(x))
    }

    /// Latents `[B, C, H, W]`, as the network makes them and not as they are diffused, → pictures.
    ///
    /// # Panics
    /// When they do not fit; [`AutoencoderConfig::check_latents`] finds out first.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        on_threads(|| self.inner().decode(z))
    }

    /// [`encode`](Self::encode) in tiles of `side` pixels, so that the memory it takes does not grow with the picture. Tiles
    /// overlap, and fade into each other over a quarter of a side, as in diffusers. Each is encoded as if there were nothing
    /// around it, so what comes out is not quite the same.
    ///
    /// # Panics
    /// As [`encode`](Self::encode), and when `side` is not four latents' pixels, or a multiple of that.
    pub fn encode_tiled(&self, x: Tensor<4>, side: usize) -> Tensor<4> {
        let scale = self.scale_of_tiles(side);
        on_threads(|| tiled(x, [side, side / scale], |tile| self.inner().encode(tile)))
    }

    /// [`decode`](Self::decode) in tiles of `side` pixels: see [`encode_tiled`](Self::encode_tiled).
    ///
    /// # Panics
    /// As [`decode`](Self::decode), and when `side` is not four latents' pixels, or a multiple of that.
    pub fn decode_tiled(&self, z: Tensor<4>, side: usize) -> Tensor<4> {
        let scale = self.scale_of_tiles(side);
        on_threads(|| tiled(z, [side / scale, side], |tile| self.inner().decode(tile)))
    }

    fn scale_of_tiles(&self, side: usize) -> usize {
        let scale = self.config().io().scale;
        assert!(
            side > 0 && side.is_multiple_of(4 * scale),
            "tiles of {side} pixels are not so many times {}",
            4 * scale
        );
        scale
    }
}

/// `f` of tiles of one side, which it maps to tiles of the other, put together. Where the picture is no larger than a tile it
/// is one.
fn tiled(x: Tensor<4>, [side_in, side_out]: [usize; 2], f: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    if h <= side_in && w <= side_in {
        return f(x);
    }
    let step = (side_in as f64 * (1.0 - OVERLAP)) as usize;
    let fading = (side_out as f64 * OVERLAP) as usize;
    let kept = side_out - fading;
    let mut above: Vec<Tensor<4>> = Vec::new();
    let mut rows = Vec::new();
    for top in (0..h).step_by(step) {
        let strip = x.clone().narrow(2, top, side_in.min(h - top));
        let mut row: Vec<Tensor<4>> = Vec::new();
        for (j, left) in (0..w).step_by(step).enumerate() {
            let mut tile = f(strip.clone().narrow(3, left, side_in.min(w - left)));
            if let Some(above) = above.get(j) {
                tile = fade::<2>(above, tile, fading);
            }
            if let Some(before) = row.last() {
                tile = fade::<3>(before, tile, fading);
            }
            row.push(tile);
        }
        let cut = |tile: &Tensor<4>| {
            let [_, _, h, w] = tile.dims();
            tile.clone().narrow(2, 0, h.min(kept)).narrow(3, 0, w.min(kept))
        };
        rows.push(Tensor::cat(row.iter().map(cut).collect(), 3));
        above = row;
    }
    Tensor::cat(rows, 2)
}

/// `b`, which begins as the end of `a` along axis `D`, and is itself after at most `width`.
fn fade<const D: usize>(a: &Tensor<4>, b: Tensor<4>, width: usize) -> Tensor<4> {
    let (of_a, of_b) = (a.dims()[D], b.dims()[D]);
    let width = width.min(of_a).min(of_b);
    if width == 0 {
        return b;
    }
    let share: Vec<f32> = (0..width).map(|i| i as f32 / width as f32).collect();
    let mut shape = [1; 4];
    shape[D] = width;
    let share = Tensor::<4>::from_data(TensorData::new(share, shape), &b.device());
    let leaving = a.clone().narrow(D, of_a - width, width) * (1.0 - share.clone());
    let mixed = leaving + b.clone().narrow(D, 0, width) * share;
    if width == of_b {
        return mixed;
    }
    Tensor::cat(vec![mixed, b.narrow(D, width, of_b - width)], D)
}
