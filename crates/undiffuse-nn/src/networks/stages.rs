//! Stages, outermost first, each with half the sides of the one before: what configs say of them.

use std::fmt::Debug;

use super::ConfigError;
use super::read::{fail, within};

/// Most stages.
const STAGES: usize = 16;
/// Most residual blocks in a stage.
pub const LAYERS: usize = 256;

/// Whether each entry of `block_out_channels` has its stages, `down` and `up` being how many there are.
///
/// # Errors
/// Not as many as there are channels, none at all, or too many.
pub fn check(channels: &[usize], down: usize, up: usize) -> Result<(), ConfigError> {
    let stages = channels.len();
    if stages == 0 || down != stages || up != stages {
        return fail(format!(
            "block_out_channels has {stages} stages, down_block_types {down} and up_block_types {up}; they must agree \
             and be at least 1"
        ));
    }
    within("the number of stages in block_out_channels", stages, STAGES)
}

/// Whether the channels of a stage divide into the groups that `field` says.
///
/// # Errors
/// They do not.
pub fn check_groups(channels: usize, field: &str, groups: usize) -> Result<(), ConfigError> {
    match channels.is_multiple_of(groups) {
        true => Ok(()),
        false => fail(format!("block_out_channels {channels} does not divide into {field} = {groups}")),
    }
}

/// Whether a convolution that halves the sides can be padded like this.
///
/// # Errors
/// It can't.
pub fn check_padding(downsample_padding: usize) -> Result<(), ConfigError> {
    match downsample_padding {
        0 | 1 => Ok(()),
        other => fail(format!("downsample_padding must be 0 or 1, not {other}")),
    }
}

/// The U: a line for each stage, with its channels, down on the left and up on the right, and one for the middle.
pub fn drawn(down: &[impl Debug], up: &[impl Debug], channels: &[usize], middle: Option<String>) -> String {
    let sides = down.iter().zip(up.iter().rev()).zip(channels);
    let line = |((down, up), channels)| format!("{channels:>4}  {:<24} {up:?}\n", format!("{down:?}"));
    let middle = middle.map(|middle| format!("      {middle}\n"));
    sides.map(line).chain(middle).collect()
}

/// Numbers in a row.
pub fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// Bytes of features that one picture takes in a U: its skips, and `in_work` maps as large as the largest. `u64::MAX` stands
/// for more.
pub fn features(channels: &[usize], layers: impl Fn(usize) -> usize, in_work: u64, sides: [usize; 2]) -> u64 {
    let map = |stage: usize| {
        let halved = |side: usize| side.checked_shr(stage as u32).unwrap_or(0).max(1) as u64;
        sides.iter().fold(channels[stage] as u64, |n, &side| n.saturating_mul(halved(side)))
    };
    let kept = |stage: usize| map(stage).saturating_mul((layers(stage) as u64).saturating_add(2));
    let skips = (0..channels.len()).map(kept).fold(0, u64::saturating_add);
    let largest = (0..channels.len()).map(map).max().unwrap_or(0);
    skips.saturating_add(largest.saturating_mul(in_work)).saturating_mul(4)
}

/// Pixels of a stage.
pub fn pixels(stage: usize, sides: [usize; 2]) -> f64 {
    sides.iter().map(|&side| (side >> stage.min(63)).max(1) as f64).product()
}

/// Multiplications in the residual blocks of a U with `middle` of them in the middle.
pub fn convolutions(channels: &[usize], layers: impl Fn(usize) -> usize, middle: usize, sides: [usize; 2]) -> f64 {
    // Two convolutions of 3x3.
    let residual = |from: f64, to: f64| 9.0 * (from * to + to * to);
    let stage = |stage: usize| {
        let (outer, c) = (channels[stage.saturating_sub(1)] as f64, channels[stage] as f64);
        let layers = layers(stage) as f64;
        let down = residual(outer, c) + (layers - 1.0).max(0.0) * residual(c, c);
        (down + (layers + 1.0) * residual(2.0 * c, c)) * pixels(stage, sides)
    };
    let (last, innermost) = (channels.len() - 1, channels[channels.len() - 1] as f64);
    let all: f64 = (0..=last).map(stage).sum();
    all + middle as f64 * residual(innermost, innermost) * pixels(last, sides)
}
