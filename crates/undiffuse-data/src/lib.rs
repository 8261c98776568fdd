//! Files → images → batches: everything about the data of a diffusion model that needs no tensor.
//!
//! The way of a picture:
//!
//! ```text
//! folder │ zip │ tar │ idx     source      finds the pictures, their classes and captions
//!            ↓
//!        PNG, JPEG, …          decode      orients, flattens alpha, brings everything to 8 bits
//!            ↓
//!       Image (u8, HWC)        transform   centre-crops to a square and resizes, antialiased
//!            ↓
//!      one cache file          dataset     decoded once, memory-mapped ever after
//!            ↓
//!   f32, NCHW, in [-1, 1]      batch       x = pixel / 127.5 - 1
//! ```
//!
//! ```no_run
//! use undiffuse_data::{Dataset, Options};
//! # fn main() -> Result<(), undiffuse_data::DataError> {
//! let dataset = Dataset::open("photos".as_ref(), &Options { size: Some(32), ..Options::default() })?;
//! let mut batch = Vec::new();
//! dataset.batch(&[0, 1, 2], &[false, true, false], &mut batch);
//! assert_eq!(batch.len(), 3 * dataset.channels() * 32 * 32);
//! # Ok(()) }
//! ```
//!
//! A new kind of source is one file in [`source`] and one line in [`source::SOURCES`].
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Chen15 | Chen et al., Microsoft COCO captions: Data collection and evaluation server, arXiv:1504.00325 |
//! | Okabe08 | Okabe and Ito, Color universal design |
//! | Parmar22 | Parmar et al., On aliased resizing and surprising subtleties in GAN evaluation, arXiv:2104.11222 |

mod bytes;
mod cache;
mod captions;
mod collect;
mod comment;
mod contact;
mod dataset;
pub mod decode;
mod duplicates;
mod error;
pub mod figure;
pub mod files;
mod gif;
mod histogram;
mod image;
pub mod label;
mod maker;
pub mod memory;
pub mod names;
mod options;
mod png;
mod report;
mod rows;
pub mod scenes;
pub mod source;
mod split;
mod strip;
pub mod text;
pub mod transform;

pub use self::gif::gif;
pub use self::image::{Image, grid};
pub use self::png::{encode_png, read_png_text};
pub use captions::Captions;
pub use collect::{Described, Opening, OpeningStage, for_each_picture};
pub use comment::{COMMENT, read_texts};
pub use contact::contact_sheet;
pub use dataset::{Column, Dataset};
pub use error::{DataError, Skipped};
pub use histogram::{density, histogram};
pub use maker::{is_sheet, sheet_mark};
pub use options::{Cache, Limits, Options, parse_color};
pub use report::{CaptionReport, ChannelStats, ClassCount, DataReport, Spread};
pub use rows::{Rows, Take};
pub use split::{HeldOut, Split};
pub use strip::{Band, Caption, captioned, strip};
