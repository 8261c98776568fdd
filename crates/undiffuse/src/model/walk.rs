//! The walks of a model: along which plan, where they begin, and what they keep of a picture.

use std::sync::Arc;

use burn::tensor::Tensor;
use undiffuse_math::prelude::Plan;
use undiffuse_math::recipe::Recipe;
use undiffuse_math::solver::PlanError;

use super::{Model, SampleDefaults};
use crate::codec::AnyCodec;
use crate::denoise::{Canvas, Clipping, Cond, Denoise, Inpaint};
use crate::sample::{Noise, Sampler, Walker, sample, sample_from};

/// What walks make of a picture: they begin at it, or keep a part of it, or both. The default is no picture: they begin at noise.
///
/// [`Model::origin`] reads it; a walk is around the denoiser of [`keeping`](Self::keeping), is told [`told`](Self::told), and is
/// begun by [`Model::sample_at`].
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The latents `[1, C, H, W]` to begin at; none where that is noise.
    begin: Option<Tensor<4>>,
    /// What is known of the picture, and the codec that pastes it.
    known: Option<(AnyCodec, [Tensor<4>; 2])>,
    /// What the network itself reads of the picture.
    canvas: Option<Canvas>,
}

impl Origin {
    /// A denoiser whose guesses show the picture where it is kept, unless the network reads that itself.
    pub fn keeping<'a>(&self, denoiser: Box<dyn Denoise + 'a>) -> Box<dyn Denoise + 'a> {
        match self.known.clone() {
            Some((codec, known)) => Box::new(Inpaint::new(denoiser, codec, known)),
            None => denoiser,
        }
    }

    /// What was asked of some pictures, with what the network reads of the one that they are painted into.
    pub fn told(&self, cond: Cond) -> Cond {
        match self.canvas.clone() {
            Some(canvas) => cond.painted_into(canvas),
            None => cond,
        }
    }
}

impl Model {
    /// Whether the network paints into pictures, and reads them: walks of such a model need an [`origin`](Self::origin) with a mask.
    pub fn paints(&self) -> bool {
        self.network.config().io().channels_in > self.latent_shape[0] + self.conditioner.beside()
    }

    /// What walks along the plan of [`plan_from`](Self::plan_from)`(strength)` make of a picture `[1, C, H, W]` in the model's pixel
    /// range and a mask `[1, 1, H, W]`, where there is one: 1 where it is painted, 0 where the picture is kept.
    ///
    /// As in diffusers, latents that are walked from their beginning (a `strength` of 1) are painted from noise: nothing is left
    /// of the picture but what the mask keeps. Where codecs are orthonormal, walks begin at the picture whatever the strength.
    pub fn origin(&self, picture: Tensor<4>, mask: Option<Tensor<4>>, strength: f64) -> Origin {
        let forgotten = strength == 1.0 && mask.is_some() && !self.codec.is_orthonormal();
        let begin = (!forgotten).then(|| self.codec.encode(picture.clone()));
        let (known, canvas) = match mask {
            Some(mask) if self.paints() => (None, Some(self.canvas(picture, mask))),
            Some(mask) => (Some((self.codec.clone(), self.codec.known(picture, mask))), None),
            None => (None, None),
        };
        Origin { begin, known, canvas }
    }

    /// What a network that [paints](Self::paints) reads beside what it denoises: the mask, and the latents of the picture without
    /// what is painted.
    fn canvas(&self, picture: Tensor<4>, mask: Tensor<4>) -> Canvas {
        let [latents, mask] = self.codec.known(picture * (1.0 - mask.clone()), mask);
        Canvas(Arc::new(Tensor::cat(vec![mask, latents], 1)))
    }

    /// The plan of the model's sampling settings on its schedule.
    ///
    /// # Errors
    /// No steps, or more than the schedule has timesteps; settings that lead nowhere together.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let settings = self.sample_defaults();
        self.recipe_for(&settings).plan(settings.steps)
    }

    /// The last part of the plan, for walks that begin at a picture: `strength` is the share of the steps that are
    /// walked, in whole steps as in diffusers and at least one \[Meng22\]. A strength of 0 is no step at all: the walk ends where it begins, at the
    /// picture.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn plan_from(&self, strength: f64) -> Result<Plan, PlanError> {
        let settings = self.sample_defaults();
        let recipe = self.recipe_for(&settings);
        let mut grid = recipe.grid(settings.steps)?;
        if strength == 0.0 {
            return Ok(Plan::default());
        }
        let walked = ((grid.points.len() as f64 * strength) as usize).clamp(1, grid.points.len());
        grid.points.drain(..grid.points.len() - walked);
        recipe.along(&grid)
    }

    /// A walk from noise to pictures along `plan`, as the model's recipe has it.
    pub fn sample<'a>(&self, denoiser: &'a dyn Denoise, plan: &'a Plan, noise: Noise, cond: &'a Cond) -> Walker<'a> {
        self.walker(sample(denoiser, plan, noise, self.latent_shape, cond))
    }

    /// A walk that begins where `origin` says: at its picture, noised to the level where `plan` begins, or at noise. It ends on what
    /// is kept of the picture.
    pub fn sample_at<'a>(
        &self,
        origin: &Origin,
        denoiser: &'a dyn Denoise,
        plan: &'a Plan,
        noise: Noise,
        cond: &'a Cond,
    ) -> Walker<'a> {
        let pictures = noise.pictures();
        let sampler = match origin.begin.clone() {
            Some(z) => sample_from(denoiser, plan, noise, z.repeat_dim(0, pictures), cond),
            None => sample(denoiser, plan, noise, self.latent_shape, cond),
        };
        self.walker(match origin.known.clone() {
            // A walk may end a little above the clean end: latents are pasted there, as in diffusers.
            Some((codec, known)) if !codec.is_orthonormal() => sampler.ending_on(codec, known),
            _ => sampler,
        })
    }

    fn walker<'a>(&self, sampler: Sampler<'a>) -> Walker<'a> {
        let solver = self.sample_defaults().solver;
        let clipping = || Clipping { rule: self.recipe.clip, codec: self.codec.clone() };
        let sampler = if self.recipe.keep_eps { sampler.keeping_eps(clipping()) } else { sampler };
        let sampler = match self.recipe.learned_variance {
            Some(learned) if solver.takes_variance() => sampler.with_learned_variance(learned),
            _ => sampler,
        };
        match self.recipe.corrector {
            Some(corrector) => Walker::Corrected(sampler.corrected(corrector)),
            None => Walker::Plain(sampler),
        }
    }

    /// The model's recipe with the solver and spacing of `settings`; what belongs to the model's own
    /// solver alone stays only with that solver.
    pub(super) fn recipe_for(&self, settings: &SampleDefaults) -> Recipe {
        let recipe = self.recipe.clone();
        let recipe = match settings.solver == recipe.solver {
            true => recipe,
            false => recipe.with_solver(settings.solver.clone()),
        };
        match settings.spacing == recipe.spacing {
            true => recipe,
            false => recipe.with_spacing(settings.spacing.clone()),
        }
    }
}
