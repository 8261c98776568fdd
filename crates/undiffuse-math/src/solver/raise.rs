//! Noise put back after a step.

use crate::{level::NoiseLevel, plan::Row};

/// Lets a row end at the noisier level `to`: what it made is scaled to the new signal, and the noise that is missing
/// is added, `strength` times. A row has one noise, and the sum of two normal noises is one.
pub(super) fn raise(row: &mut Row, to: NoiseLevel, strength: f64) {
    let signal = to.alpha / row.next.alpha;
    row.x.iter_mut().chain(&mut row.denoised).for_each(|c| *c *= signal);
    row.noise = (signal * row.noise).hypot(strength * missing(row.next, to));
    row.next = to;
}

/// Standard deviation of the forward process between two levels: `sqrt(sigma'² - (alpha' / alpha)² sigma²)`.
pub(super) fn missing(from: NoiseLevel, to: NoiseLevel) -> f64 {
    let kept = to.alpha / from.alpha * from.sigma;
    ((to.sigma - kept) * (to.sigma + kept)).max(0.0).sqrt()
}
