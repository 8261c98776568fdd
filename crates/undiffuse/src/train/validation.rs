//! The loss of a network on pictures whose times and noise never change, so that any two numbers can be compared.

use super::draws::Drawer;
use super::loss::{self, Context, Loss};
use super::networks::Networks;

/// Held-out pictures that a run's validation looks at, at most.
pub const PICTURES: usize = 256;

/// What is asked of a picture while its loss is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// What it shows.
    Own,
    /// Nothing.
    Nothing,
    /// What another one of the same pictures shows.
    Another,
}

/// The loss of each of the pictures `indices`, `part` of them at a time.
///
/// The times are spread evenly over the pictures and the noise is picture number's own, so two networks on the same pictures,
/// one network on two sets of as many, or told two things of them, differ by nothing else.
pub fn losses(
    loss: &dyn Loss,
    networks: &Networks,
    drawer: &Drawer<'_>,
    indices: &[usize],
    part: usize,
    asked: Asked,
) -> Vec<f64> {
    let part = part.max(1);
    let of = |(i, part_of): (usize, &[usize])| {
        let mut draws = drawer.validation(part_of, i * part, indices.len());
        draws.ask = match asked {
            Asked::Own => draws.ask,
            Asked::Nothing => draws.ask.unconditional(),
            Asked::Another => {
                let others = indices.iter().cycle().skip(i * part + 1 + indices.len() / 2);
                others.take(part_of.len()).map(|&other| drawer.examples.ask(other, 0)).collect()
            }
        };
        let (conditioner, noise) = (drawer.conditioner, drawer.noise);
        let context = Context { networks, conditioner, noise, draws: &draws, dropout: None };
        loss::values(&loss.losses(&context))
    };
    indices.chunks(part).enumerate().flat_map(of).collect()
}
