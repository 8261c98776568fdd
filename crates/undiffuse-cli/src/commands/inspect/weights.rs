//! A safetensors file: a checkpoint of a run, or weights.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use undiffuse::nn::weights::{self, Named};
use undiffuse::run::RunFolder;
use undiffuse::train::checkpoint::Counters;

use super::{Findings, size};
use crate::output::{facts, millions};
use crate::ui::text::shell;

/// Tensors that are listed.
const SHOWN: usize = 40;

pub fn inspect(path: &Path, bytes: &[u8]) -> anyhow::Result<Findings> {
    let name = path.display().to_string();
    let tensors = weights::parse(bytes, &name)?;
    let numbers: usize = tensors.values().map(|t| t.values.len()).sum();
    let mut found = vec![
        ("file", name.clone()),
        ("size", format!("{}, {} tensors, {} numbers", size(bytes.len()), tensors.len(), millions(numbers))),
    ];
    let counters = weights::metadata(bytes, "state").and_then(|text| serde_json::from_str::<Counters>(&text).ok());
    let json = match counters {
        Some(counters) => {
            let groups = groups(&tensors);
            found.push(("checkpoint", format!("{} images seen, {} steps", counters.nimg, counters.step)));
            found.extend(counters.validation_loss.map(|loss| ("held out", format!("loss {loss:.4}"))));
            let line = |(name, n): (&String, &usize)| format!("{name:<12} {} numbers\n", millions(*n));
            found.push(("holds", groups.iter().map(line).collect()));
            let run = path.parent().and_then(Path::parent).filter(|run| RunFolder::new(*run).exists());
            found.extend(run.map(|run| ("continue", format!("undiffuse train --resume {}", shell(run)))));
            json!({ "kind": "checkpoint", "path": name, "state": counters, "tensors": tensors.len(), "groups": groups })
        }
        None => {
            found.push(("tensors", listed(&tensors)));
            let shapes: BTreeMap<_, _> = tensors.iter().map(|(name, t)| (name, &t.shape)).collect();
            json!({ "kind": "weights", "path": name, "numbers": numbers, "tensors": shapes })
        }
    };
    Ok(Findings { text: facts(&found), json })
}

/// Numbers of each part of a checkpoint: `raw`, `average.0`, `adam.m`…
fn groups(tensors: &BTreeMap<String, Named>) -> BTreeMap<String, usize> {
    let mut groups = BTreeMap::new();
    for (name, tensor) in tensors {
        let parts: Vec<&str> = name.split('.').collect();
        let deep = if parts[0] == "raw" { 1 } else { 2 };
        *groups.entry(parts[..deep.min(parts.len())].join(".")).or_default() += tensor.values.len();
    }
    groups
}

fn listed(tensors: &BTreeMap<String, Named>) -> String {
    let mut lines: Vec<String> = tensors.iter().map(|(name, t)| format!("{name} {:?}", t.shape)).take(SHOWN).collect();
    if tensors.len() > SHOWN {
        lines.push(format!("and {} more", tensors.len() - SHOWN));
    }
    lines.join("\n")
}
