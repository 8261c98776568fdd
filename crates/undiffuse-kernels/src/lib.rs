//! The CPU kernels of undiffuse: convolution with all that goes before and after it, normalisation, attention, linear
//! maps, activations and the optimiser's step, forward and backward, on plain `f32` slices; and depthwise convolution and
//! pooling, which only feature networks need, forward. No tensor library is known here.
//!
//! # Maps
//!
//! Feature maps lie as `[image][channels / 16][row][column][16]` ([`map`]): sixteen channels are the lanes of a vector.
//! Nothing is transposed between operations, and what a network does to a map between two convolutions (normalise,
//! modulate, activate; add a bias, a time embedding, a residual; join two maps; double the pixels) happens while the
//! convolution reads and writes it anyway ([`conv2d::Input`], [`conv2d::Add`]).
//!
//! # The promise: the shape of one image fixes the order of every sum
//!
//! An output that belongs to one image (or one row, or one head) has the same bits for any batch size, any position
//! in the batch and any number of threads. A gradient that sums over the batch is a sum along a fixed binary tree over
//! groups of eight images ([`tree`]), so it too has the same bits for any number of threads; and the gradients of batches
//! that are subtrees (parts of 8, 16, 32... images), computed anywhere, add up to the bits of the whole batch's. Three
//! rules make it so:
//!
//! 1. every element of a matrix product is *one* chain of fused multiply-adds in the order of the inner index
//!    (see `gemm.rs`): where a tile begins or ends changes nothing;
//! 2. every other sum runs over sixteen lanes in a fixed pattern and is folded by a fixed tree;
//! 3. threads own outputs, never shares of a sum; where sums must be split, the pieces are fixed by the shape of one
//!    image, or by the tree.
//!
//! AVX2 and AVX-512 (and any other CPU with fused multiply-add that the portable code runs on) give equal bits too.
//! Without fused multiply-add every product is rounded once more, and the last bits differ.
//!
//! # One layout of matrices
//!
//! Kernels work on `panel`s, columns of sixteen: `[columns / 16][rows][16]`. A panel of a map is one already, with
//! pixels for rows; weights, patches, attention scores and products take the same form, so two products (`gemm::nn` and
//! `gemm::tn`) serve every operation.
//!
//! # Choosing the instructions
//!
//! The CPU is asked once, at the first call ([`simd_level`]). The environment variable `UNDIFFUSE_SIMD` = `portable`,
//! `avx2` or `avx512`, read at that moment, can lower the level; it never raises it above what the CPU has.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Abramowitz64 | Abramowitz and Stegun, Handbook of mathematical functions |
//! | Ba16 | Ba et al., Layer normalization, arXiv:1607.06450 |
//! | Chollet17 | Chollet, Xception, arXiv:1610.02357 |
//! | Dao22 | Dao et al., FlashAttention, arXiv:2205.14135 |
//! | Dhariwal21 | Dhariwal and Nichol, Diffusion models beat GANs on image synthesis, arXiv:2105.05233 |
//! | Elfwing17 | Elfwing et al., Sigmoid-weighted linear units, arXiv:1702.03118 |
//! | Hendrycks16 | Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415 |
//! | Howard17 | Howard et al., MobileNets, arXiv:1704.04861 |
//! | Lavin16 | Lavin and Gray, Fast algorithms for convolutional neural networks, arXiv:1509.09308 |
//! | Loshchilov19 | Loshchilov and Hutter, Decoupled weight decay regularization, arXiv:1711.05101 |
//! | Milakov18 | Milakov and Gimelshein, Online normalizer calculation for softmax, arXiv:1805.02867 |
//! | Misra19 | Misra, Mish, arXiv:1908.08681 |
//! | Peebles22 | Peebles and Xie, Scalable diffusion models with transformers, arXiv:2212.09748 |
//! | Sandler18 | Sandler et al., MobileNetV2, arXiv:1801.04381 |
//! | Shazeer20 | Shazeer, GLU variants improve transformer, arXiv:2002.05202 |
//! | Steele14 | Steele et al., Fast splittable pseudorandom number generators |
//! | Vaswani17 | Vaswani et al., Attention is all you need, arXiv:1706.03762 |
//! | Wu18 | Wu and He, Group normalization, arXiv:1803.08494 |
#![deny(unsafe_code)]
#![allow(clippy::needless_range_loop)] // in tiles of registers, `i, j, k` say more than zipped iterators

pub mod activation;
pub mod attention;
mod blocks;
pub mod clamp;
pub mod conv2d;
pub mod depthwise;
mod elementary;
pub mod gate;
pub mod gated;
mod gemm;
pub mod layer_norm;
pub mod linear;
pub mod map;
pub mod norm;
pub mod optimizer;
mod panel;
pub mod pool;
mod scratch;
mod simd;
pub mod tree;
mod window;

pub use simd::{Level, simd_level};
