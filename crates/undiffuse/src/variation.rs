//! What is done with a decoder of pictures' vectors \[Ramesh22, section 3\]: pictures like one, pictures between two, a picture moved
//! from what one text says towards another.
//!
//! A picture is two things to a decoder: the vector `z` of a CLIP, and the noise `x_T` that DDIM inversion finds for it under that
//! vector, which has what the vector doesn't say. [`Model::inverted`] finds the noise, [`slerp`] goes between two of either, and
//! [`moved`] along a difference of texts.

use burn::tensor::{Tensor, TensorData};
use undiffuse_math::solver::{DdimInverse, PlanError};
use undiffuse_nn::params::to_host;

use crate::Model;
use crate::denoise::Cond;
use crate::model::SampleDefaults;
use crate::sample::{Noise, Strayed};

/// Nearer to one line than this, two directions have no plane in which to turn.
const ALIGNED: f64 = 1e-6;

/// A picture whose noise cannot be found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InversionError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Strayed(#[from] Strayed),
}

/// `sin((1 - t) w) / sin w a + sin(t w) / sin w b`, with `w` the angle between `a` and `b`: at a share `t` of the way along the great
/// circle through both, at lengths between theirs. Vectors that lie on one line are mixed.
///
/// # Panics
/// If they have not as many numbers.
pub fn slerp(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "vectors of equal width");
    let angle = cosine(a, b).clamp(-1.0, 1.0).acos();
    let [from, to] = match angle.sin() < ALIGNED {
        true => [1.0 - t, t],
        false => [1.0 - t, t].map(|share| (share * angle).sin() / angle.sin()),
    };
    a.iter().zip(b).map(|(a, b)| (from * f64::from(*a) + to * f64::from(*b)) as f32).collect()
}

/// A picture's vector turned by a share `t` of the way towards the direction in which texts differ,
/// `slerp(z, (z_to - z_from) / |z_to - z_from|, t)` of vectors at length 1 \[Ramesh22, section 3.3\], who go up to a `t` between 0.25
/// and 0.5. `None` where both texts are the same to the CLIP.
///
/// # Panics
/// If they have not as many numbers.
pub fn moved(picture: &[f32], from: &[f32], to: &[f32], t: f64) -> Option<Vec<f32>> {
    let (from, to) = (unit(from)?, unit(to)?);
    let difference: Vec<f32> = to.iter().zip(&from).map(|(to, from)| to - from).collect();
    Some(slerp(&unit(picture)?, &unit(&difference)?, t))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// The same direction at length 1; `None` of what has none.
fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = dot(vector, vector).sqrt();
    (length > 0.0).then(|| vector.iter().map(|v| (f64::from(*v) / length) as f32).collect())
}

/// [`slerp`] of two tensors of one shape.
pub fn slerp_noise(a: &Tensor<4>, b: &Tensor<4>, t: f64) -> Tensor<4> {
    let (shape, device) = (a.dims(), a.device());
    let flat = |x: &Tensor<4>| to_host(x.clone().reshape([shape.iter().product::<usize>()]));
    Tensor::from_data(TensorData::new(slerp(&flat(a), &flat(b), t), shape), &device)
}

impl Model {
    /// The noise `[1, C, H, W]`, in standard deviations of where walks begin, from which DDIM of the model's settings makes this
    /// picture `[1, C, H, W]` (in the model's pixel range) when this is asked for \[Song21c, section 4.3\]: what the ask leaves open.
    ///
    /// # Errors
    /// Settings that make no plan, a walk that leaves the numbers.
    pub fn inverted(&self, picture: Tensor<4>, cond: &Cond) -> Result<Tensor<4>, InversionError> {
        let solver = DdimInverse::default().into();
        let up = self.clone().with(SampleDefaults { solver, ..self.sample_defaults() });
        let plan = up.plan_from(1.0)?;
        let origin = up.origin(picture, None, 1.0);
        let denoiser = up.denoiser(&up.sample_defaults());
        let x = up.sample_at(&origin, &*denoiser, &plan, Noise::Seeds(vec![0]), cond).finish()?;
        let scale = plan.rows.last().map_or(1.0, |row| row.next.scale());
        Ok(x / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the closed form in the plane: slerp of unit vectors at angles 0 and w is the unit vector at angle t w.
    #[test]
    fn slerp_turns_at_an_even_pace() {
        for w in [0.3, 1.2, 2.9] {
            for t in [0.0, 0.2, 0.5, 1.0] {
                let at = |angle: f64| [(2.0 * angle.cos()) as f32, (2.0 * angle.sin()) as f32];
                let turned = slerp(&at(0.0), &at(w), t);
                assert!(turned.iter().zip(at(t * w)).all(|(a, b)| (a - b).abs() < 1e-5), "{w} {t}: {turned:?}");
            }
        }
        assert_eq!(slerp(&[1.0, 0.0], &[3.0, 0.0], 0.5), [2.0, 0.0]);
    }

    /// A picture at a right angle to the difference of two texts ends at that difference, whatever lengths all have.
    #[test]
    fn a_picture_is_moved_along_a_difference_of_texts() {
        let (day, night, picture) = ([0.0, 3.0, 0.0], [0.5, 0.0, 0.0], [0.0f32, 0.0, 7.0]);
        let half = 0.5f32.sqrt();
        let expected = |t: f64| {
            let (sin, cos) =
                ((t * std::f64::consts::FRAC_PI_2).sin() as f32, (t * std::f64::consts::FRAC_PI_2).cos() as f32);
            [sin * half, -sin * half, cos]
        };
        for t in [0.0, 0.25, 0.5, 1.0] {
            let vector = moved(&picture, &day, &night, t).unwrap();
            assert!(vector.iter().zip(expected(t)).all(|(a, b)| (a - b).abs() < 1e-6), "{t}: {vector:?}");
        }
        assert_eq!(moved(&picture, &day, &[0.0, 1.0, 0.0], 0.5), None);
    }
}
