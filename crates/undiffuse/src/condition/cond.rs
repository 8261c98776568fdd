//! What is said of the pictures of a batch.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::Ask;

/// What each picture of a batch should show, what guidance leads each away from, and what else a network reads of it; empty where
/// nothing is asked of any, as of models without conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cond {
    /// What they should show.
    pub asks: Vec<Ask>,
    /// What they should not; empty where that is [`Ask::None`] for all.
    negatives: Vec<Ask>,
    /// How strongly they follow it, where the network reads that; otherwise empty.
    strengths: Vec<f64>,
    /// What they are painted into, where the network reads that; otherwise empty.
    canvases: Vec<Canvas>,
}

/// The picture that one is painted into, as a network reads it beside what it denoises: `[1, C, H, W]`.
#[derive(Clone, Debug)]
pub struct Canvas(pub Arc<Tensor<4>>);

/// The same one.
impl PartialEq for Canvas {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Some of a list that is as long as the batch, or empty.
fn some<T: Clone>(all: &[T], pictures: &[usize]) -> Vec<T> {
    if all.is_empty() { Vec::new() } else { pictures.iter().map(|&k| all[k].clone()).collect() }
}

impl Cond {
    /// The same class for every one of `n` pictures.
    pub fn class(label: u32, n: usize) -> Self {
        (0..n).map(|_| Ask::Class(label)).collect()
    }

    /// The same, led away from these, which take turns; from nothing in particular where there are none.
    pub fn away_from(self, negatives: &[Ask]) -> Self {
        let negatives = match negatives.iter().all(|ask| *ask == Ask::None) {
            true => Vec::new(),
            false => negatives.iter().cloned().cycle().take(self.len()).collect(),
        };
        Self { negatives, ..self }
    }

    /// The same, followed as strongly as this guidance scale would.
    pub fn followed(self, scale: f64) -> Self {
        Self { strengths: vec![scale; self.len()], ..self }
    }

    /// The same, all painted into this.
    pub fn painted_into(self, canvas: Canvas) -> Self {
        Self { canvases: vec![canvas; self.len()], ..self }
    }

    /// Pictures that something is said of.
    pub fn len(&self) -> usize {
        self.asks.len()
    }

    /// Whether nothing is asked of any picture.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// What guidance leads picture `k` away from.
    pub fn negative(&self, k: usize) -> &Ask {
        self.negatives.get(k).unwrap_or(&Ask::None)
    }

    /// How strongly pictures follow what is asked, where the network is to be told.
    pub fn strengths(&self) -> &[f64] {
        &self.strengths
    }

    /// What pictures are painted into, where the network is to be shown.
    pub fn canvases(&self) -> &[Canvas] {
        &self.canvases
    }

    /// The asks of some of the pictures, in this order.
    ///
    /// # Panics
    /// If there is no picture of such a number.
    pub fn select(&self, pictures: impl IntoIterator<Item = usize>) -> Self {
        let pictures: Vec<usize> = pictures.into_iter().collect();
        Self {
            asks: some(&self.asks, &pictures),
            negatives: some(&self.negatives, &pictures),
            strengths: some(&self.strengths, &pictures),
            canvases: some(&self.canvases, &pictures),
        }
    }

    /// The asks of several batches, one after the other: what is said in one is said in all, but for what to be led away from.
    pub fn concat<'a>(batches: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for batch in batches {
            if !batch.negatives.is_empty() || !all.negatives.is_empty() {
                all.negatives.resize(all.len(), Ask::None);
                all.negatives.extend((0..batch.len()).map(|k| batch.negative(k).clone()));
            }
            all.asks.extend_from_slice(&batch.asks);
            all.strengths.extend_from_slice(&batch.strengths);
            all.canvases.extend_from_slice(&batch.canvases);
        }
        all
    }

    /// As many pictures, with that asked of each what guidance leads it away from.
    pub fn unconditional(&self) -> Self {
        let asks = (0..self.len()).map(|k| self.negative(k).clone()).collect();
        Self { asks, negatives: Vec::new(), ..self.clone() }
    }

    /// All that is asked, and all that is led away from.
    pub fn every(&self) -> impl Iterator<Item = &Ask> {
        self.asks.iter().chain((0..self.len()).map(|k| self.negative(k)))
    }
}

impl FromIterator<Ask> for Cond {
    fn from_iter<I: IntoIterator<Item = Ask>>(asks: I) -> Self {
        Self { asks: asks.into_iter().collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_stay_together() {
        let [a, b, c] = [1, 2, 3].map(Ask::Class);
        let plain: Cond = [a.clone(), b.clone()].into_iter().collect();
        let led = plain.clone().away_from(std::slice::from_ref(&c));
        assert_eq!(led.select([1]).negative(0), &c);
        assert_eq!(led.unconditional(), [c.clone(), c.clone()].into_iter().collect());
        assert_eq!(plain.unconditional(), [Ask::None, Ask::None].into_iter().collect());
        // What is led away from nothing in particular says nothing of it.
        assert_eq!(plain.clone().away_from(&[Ask::None]), plain);
        for (batches, negatives) in [
            ([&plain, &led], [Ask::None, Ask::None, c.clone(), c.clone()]),
            ([&led, &plain], [c.clone(), c.clone(), Ask::None, Ask::None]),
        ] {
            let all = Cond::concat(batches);
            assert_eq!(all.asks, [a.clone(), b.clone(), a.clone(), b.clone()]);
            assert_eq!((0..4).map(|k| all.negative(k).clone()).collect::<Vec<_>>(), negatives);
        }
        let followed = led.followed(3.0);
        assert_eq!(Cond::concat([&followed, &followed.unconditional()]).strengths(), [3.0; 4]);
    }
}
