//! What a person hands to `undiffuse sample` in files: noise, measured errors.

use std::path::Path;

use anyhow::Context;
use undiffuse::Model;
use undiffuse::burn::tensor::{Device, Tensor, TensorData};
use undiffuse::model::Provenance;
use undiffuse::nn::weights;

use crate::common::usage;

/// Reads `init_noise`, or the only tensor that there is, and the first `needed - 1` of `noise.K`: of all pictures, or of the one with this index.
pub fn read_noise(
    path: &Path,
    index: Option<usize>,
    needed: usize,
    shape: [usize; 3],
    device: &Device,
) -> anyhow::Result<Vec<Tensor<4>>> {
    let tensors = weights::read(path)?;
    let names = std::iter::once("init_noise".to_owned()).chain((0..needed - 1).map(|k| format!("noise.{k}")));
    let mut all = Vec::new();
    for name in names {
        let only = tensors.values().next().filter(|_| tensors.len() == 1 && needed == 1);
        let tensor = tensors.get(&name).or(only).ok_or_else(|| {
            usage(format!("--init-noise `{}` has no tensor `{name}`; this plan needs {needed} noises", path.display()))
        })?;
        let pictures = all.first().map_or(tensor.shape.first().copied().unwrap_or(0), |t: &Tensor<4>| t.dims()[0]);
        let expected = [pictures, shape[0], shape[1], shape[2]];
        if tensor.shape != expected || pictures == 0 {
            return Err(usage(format!(
                "--init-noise `{}`: tensor `{name}` is {:?}, the model needs {expected:?}",
                path.display(),
                tensor.shape
            )));
        }
        all.push(Tensor::from_data(TensorData::new(tensor.values.clone(), expected), device));
    }
    let held = all[0].dims()[0];
    match index {
        Some(k) if k >= held => {
            let name = path.display();
            Err(usage(format!("--init-index {k}: `{name}` holds noise for {held} pictures, the first is 0")))
        }
        Some(k) => Ok(all.into_iter().map(|noise| noise.narrow(0, k, 1)).collect()),
        None => Ok(all),
    }
}

/// The errors by log-SNR of a report of `undiffuse nll`.
pub fn errors(path: &Path, model: &Model) -> anyhow::Result<Vec<(f64, f64)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let report: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
    // Read as a card is: older reports hold the data's whole path.
    let trained: Option<Provenance> = serde_json::from_value(report["protocol"]["trained"].clone()).ok().flatten();
    if trained != model.card.provenance {
        let of = report["protocol"]["model"].as_str().unwrap_or("another model").to_owned();
        return Err(usage(format!("`{}` was measured on `{of}`, which is not this model", path.display())));
    }
    let curve = report["bound"]["curve"].as_array().into_iter().flatten();
    let errors: Vec<(f64, f64)> = curve
        .filter(|step| step["pictures"].as_u64() > Some(0))
        .filter_map(|step| Some((step["log_snr"].as_f64()?, step["error"].as_f64()?)))
        .collect();
    match errors.is_empty() {
        true => {
            Err(usage(format!("`{}` holds no bound: write one with `undiffuse nll MODEL --data D`", path.display())))
        }
        false => Ok(errors),
    }
}
