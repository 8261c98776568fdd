//! What a figure depends on besides the pictures that it judges: two reports can be compared when theirs are equal.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use undiffuse_data::text::hex;

/// Raised whenever a formula changes what it gives.
pub const VERSION: u32 = 1;

/// Everything that must be the same for two reports' figures to mean the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// [`VERSION`] of the formulas.
    pub version: u32,
    /// The feature network.
    pub features: FeatureFacts,
    /// The data that was compared with.
    pub data: DataFacts,
    /// How the judged pictures were made.
    pub generated: GeneratedFacts,
    /// Real pictures in measures that look at pairs: kernels, neighbours, projections.
    pub pairs: usize,
    /// Seed of every random choice of the measures.
    pub seed: u64,
    /// Bootstrap resamples behind intervals.
    pub resamples: usize,
    /// The likelihood of held-out pictures.
    pub likelihood: LikelihoodFacts,
    /// The audit for copies.
    pub audit: AuditFacts,
    /// The CLIP that judges what pictures show.
    #[serde(default)]
    pub judge: JudgeFacts,
}

/// A CLIP that judges; absent parts where none did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeFacts {
    /// SHA-256 of its folder.
    pub clip: Option<String>,
    /// Captions that a picture's own is one of, at most.
    pub captions: Option<usize>,
}

/// How likelihoods were measured; absent parts where they were not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LikelihoodFacts {
    /// SHA-256 of the data that the pictures are of.
    pub data: Option<String>,
    /// SHA-256 of what these say of their pictures that the model is told, where the data's own does not cover it.
    pub told: Option<String>,
    /// Pictures.
    pub images: Option<usize>,
    /// Steps of the bound's chain.
    pub steps: Option<usize>,
    /// All other settings, as [`LikelihoodSettings`](undiffuse::likelihood::measure::LikelihoodSettings) has them.
    pub settings: Option<String>,
}

/// What copies were looked for in; absent parts where they were not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditFacts {
    /// SHA-256 of the data that the training pictures are of, and which these are.
    pub training: Option<String>,
    /// Training pictures.
    pub images: Option<usize>,
    /// The same of pictures that were held out of training.
    pub held_out: Option<String>,
    /// Pictures that were held out of training.
    pub held_out_images: Option<usize>,
}

/// A feature network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureFacts {
    /// Its name.
    pub network: String,
    /// SHA-256 of weights, layers and what is done to pictures before.
    pub fingerprint: String,
    /// How pictures enter it.
    pub input: String,
    /// Numbers in a vector.
    pub dims: usize,
}

/// Data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFacts {
    /// SHA-256 of its decoded pixels, labels and names.
    pub fingerprint: String,
    /// Pictures.
    pub images: usize,
    /// Side in pixels.
    pub size: usize,
    /// 1 or 3.
    pub channels: usize,
}

/// Judged pictures; what is not known of pictures in a folder is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratedFacts {
    /// Pictures.
    pub images: usize,
    /// What pictures from a folder were before they came to the size of the data's.
    pub original: Option<String>,
    /// First and last seed.
    pub seeds: Option<[u64; 2]>,
    /// How it was chosen what each was to show.
    #[serde(alias = "classes")]
    pub conditions: Option<String>,
    /// SHA-256 of what the data say of their pictures that the model is told, where the data's own does not cover it.
    pub told: Option<String>,
    /// The solver, as `--solver` takes it.
    pub solver: Option<String>,
    /// The spacing, as `--spacing` takes it.
    pub spacing: Option<String>,
    /// Steps.
    pub steps: Option<usize>,
    /// Guidance.
    pub guidance: Option<f64>,
}

impl Protocol {
    /// SHA-256 (hexadecimal) of all of it.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        leaves(&self.json()).iter().for_each(|(path, value)| hash.update(format!("{path}={value}\n")));
        hex(&hash.finalize())
    }

    /// The parts in which two protocols differ: `(path, here, there)`, such as `("generated.steps", "25", "50")`.
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let (here, there) = (leaves(&self.json()), leaves(&other.json()));
        let pairs = here.into_iter().zip(there).filter(|(a, b)| a.1 != b.1);
        pairs.map(|((path, a), (_, b))| (path, shown(&a), shown(&b))).collect()
    }

    /// Every part with its value, for reading: `("generated.steps", "25")`.
    pub fn facts(&self) -> Vec<(String, String)> {
        leaves(&self.json()).into_iter().map(|(path, value)| (path, shown(&value))).collect()
    }

    fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Every value that is no object, with its path. Structs give the same paths whatever they hold.
fn leaves(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => {
            let inner = map.iter().flat_map(|(key, value)| {
                leaves(value).into_iter().map(move |(path, leaf)| {
                    (if path.is_empty() { key.clone() } else { format!("{key}.{path}") }, leaf)
                })
            });
            inner.collect()
        }
        leaf => vec![(String::new(), leaf.clone())],
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "unknown".into(),
        Value::String(text) if text.len() == 64 => text[..12].into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Protocol {
        Protocol {
            version: VERSION,
            features: FeatureFacts {
                network: "pixels".into(),
                fingerprint: "ab".repeat(32),
                input: "28×28".into(),
                dims: 64,
            },
            data: DataFacts { fingerprint: "cd".repeat(32), images: 100, size: 28, channels: 1 },
            generated: GeneratedFacts { images: 50, steps: Some(25), ..GeneratedFacts::default() },
            pairs: 50,
            seed: 0,
            resamples: 1000,
            likelihood: LikelihoodFacts::default(),
            audit: AuditFacts::default(),
            judge: JudgeFacts::default(),
        }
    }

    #[test]
    fn every_part_counts_and_is_named() {
        let (a, mut b) = (example(), example());
        assert_eq!(a.differences(&b), []);
        assert_eq!(a.fingerprint(), b.fingerprint());
        b.generated.steps = Some(50);
        b.generated.solver = Some("heun".into());
        b.features.fingerprint = "ef".repeat(32);
        let differences = b.differences(&a);
        let paths: Vec<&str> = differences.iter().map(|d| d.0.as_str()).collect();
        assert_eq!(paths, ["features.fingerprint", "generated.solver", "generated.steps"]);
        assert_eq!(differences[1].1, "heun");
        assert_eq!(differences[1].2, "unknown");
        assert_ne!(a.fingerprint(), b.fingerprint());
    }
}
