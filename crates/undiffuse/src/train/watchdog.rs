//! Noticing that a loss explodes while it is still finite.

use std::collections::VecDeque;

/// Steps whose mean loss is looked at.
const WINDOW: usize = 20;
/// How many times the best such mean is an explosion: noise moves a loss by a fraction of itself, and a loss at its
/// start is rarely ten times the loss at its end.
const FACTOR: f64 = 20.0;

/// The last losses and the best there were.
#[derive(Default)]
pub struct Losses {
    last: VecDeque<f64>,
    best: Option<f64>,
}

impl Losses {
    /// Takes in a loss; says so when the losses have exploded.
    pub fn explodes(&mut self, loss: f64) -> Option<String> {
        self.last.push_back(loss);
        if self.last.len() < WINDOW {
            return None;
        }
        let mean = self.last.iter().sum::<f64>() / WINDOW as f64;
        self.last.pop_front();
        let best = self.best.map_or(mean, |best| best.min(mean));
        self.best = Some(best);
        (mean > FACTOR * best).then(|| format!("the loss rose from {best:.3} to {mean:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Losses;

    #[test]
    fn noise_is_no_explosion_and_an_explosion_is() {
        let mut losses = Losses::default();
        let noisy = (0..500).map(|i| 1.0 / (1.0 + 0.01 * i as f64) + 0.5 * ((i * 7919) % 13) as f64 / 13.0);
        assert!(noisy.map(|loss| losses.explodes(loss)).all(|said| said.is_none()));
        let said = (0..40).find_map(|i| losses.explodes(10.0 * 1.5f64.powi(i)));
        assert!(said.is_some_and(|text| text.contains("rose from")));
    }
}
