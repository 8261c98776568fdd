//! Sample grids along a run.

use undiffuse_data::{Image, grid};
use undiffuse_math::solver::PlanError;

use crate::model::Model;
use crate::sample::Noise;

/// Columns of a preview.
const COLUMNS: usize = 10;
/// Rows of a preview.
const ROWS: usize = 6;

/// Pictures in a preview.
pub const PICTURES: usize = COLUMNS * ROWS;

/// Evaluations of the network on a picture that a grid takes.
///
/// # Errors
/// Settings that make no plan.
pub fn evaluations(model: &Model) -> Result<usize, PlanError> {
    if model.codec.one_way().is_some() {
        return Ok(0);
    }
    let guided = model.sample_defaults().guidance != 1.0 && !model.conditioner.all().is_empty();
    Ok(PICTURES * model.plan()?.rows.len() * if guided { 2 } else { 1 })
}

/// A grid of samples of the model with seeds 0, 1, 2…; what can be asked for takes turns along each row. `None` where these are no
/// pictures, and where the network makes no numbers of them: the watchdog sees that in the loss.
///
/// # Errors
/// Settings that make no plan.
pub fn preview(model: &Model) -> Result<Option<Image>, PlanError> {
    if model.codec.one_way().is_some() {
        return Ok(None);
    }
    let asks = model.conditioner.all();
    let ask = |i: usize| Some(asks.get(i % COLUMNS % asks.len().max(1))?.clone());
    let cond = (0..PICTURES).map_while(ask).collect();
    let plan = model.plan()?;
    let denoiser = model.denoiser(&model.sample_defaults());
    let walk = model.sample(&*denoiser, &plan, Noise::Seeds((0..PICTURES as u64).collect()), &cond);
    Ok(walk.finish().ok().map(|x| grid(&model.images(x), COLUMNS, 2)))
}
