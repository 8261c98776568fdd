//! What files call a network's layers: every name of each, by which keys find the tensor.

use std::collections::BTreeMap;

use super::keys::plain;

/// diffusers' names of a U-Net's layers outside of its blocks, and those of the original layout.
const OUTSIDE: [(&str, &str); 9] = [
    ("conv_in", "input_blocks.0.0"),
    ("conv_out", "out.2"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
];

/// The same of a residual block's layers.
const RESNET: [(&str, &str); 4] = [
    ("conv1", "in_layers.2"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
];

/// What diffusers' attention processors called the projections of CLIP, and of its own attention.
const PROCESSOR: [(&str, &str); 5] = [
    (".q_proj", ".to_q"),
    (".k_proj", ".to_k"),
    (".v_proj", ".to_v"),
    (".out_proj", ".to_out"),
    (".to_out.0", ".to_out"),
];

/// What all of CLIP is in; transformers 5 leaves it out.
const WHOLE: &str = "text_model.";

/// The layers of a network by every name, without dots, that they have in files: the index in `layers`.
pub fn index<'a>(layers: impl Iterator<Item = &'a str> + Clone) -> BTreeMap<String, usize> {
    let stages = Stages::of(layers.clone());
    let mut index = BTreeMap::new();
    for (at, layer) in layers.enumerate() {
        let short = layer.strip_prefix(WHOLE);
        let mut names: Vec<String> = [layer].into_iter().chain(short).map(str::to_owned).collect();
        for (ours, theirs) in PROCESSOR {
            let older: Vec<_> =
                names.iter().filter_map(|name| Some(name.strip_suffix(ours)?.to_owned() + theirs)).collect();
            names.extend(older);
        }
        names.extend(stages.original(layer));
        for name in names {
            index.entry(plain(&name)).or_insert(at);
        }
    }
    index
}

/// How many residual blocks each block of a U-Net has, on the way down and up, and whether it attends.
#[derive(Default)]
struct Stages {
    down: Vec<(usize, bool)>,
    up: Vec<(usize, bool)>,
}

impl Stages {
    fn of<'a>(layers: impl Iterator<Item = &'a str>) -> Self {
        let mut stages = Self::default();
        for place in layers.filter_map(Place::of) {
            let list = if place.down { &mut stages.down } else { &mut stages.up };
            if place.stage >= list.len() && place.stage < 100 {
                list.resize(place.stage + 1, (0, false));
            }
            let Some((resnets, attends)) = list.get_mut(place.stage) else { continue };
            match place.kind {
                "resnets" => *resnets = (*resnets).max(place.number + 1),
                "attentions" => *attends = true,
                _ => {}
            }
        }
        stages
    }

    /// What the original layout calls a layer, which numbers the residual blocks of all stages through: each with its attention, and a
    /// sampler behind those of a stage on the way down, within the last one on the way up.
    fn original(&self, layer: &str) -> Option<String> {
        let renamed = |name: &str, table: &[(&str, &str)]| {
            table.iter().find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
        };
        let Some(place) = Place::of(layer) else {
            let name = renamed(layer, &OUTSIDE)?;
            return match name.split_at_checked("middle_block.0.".len()) {
                Some((block @ ("middle_block.0." | "middle_block.2."), rest)) => {
                    Some(block.to_owned() + &renamed(rest, &RESNET)?)
                }
                _ => Some(name),
            };
        };
        let list = if place.down { &self.down } else { &self.up };
        let (resnets, attends) = *list.get(place.stage)?;
        let before: usize = list[..place.stage].iter().map(|(resnets, _)| resnets + usize::from(place.down)).sum();
        let (block, first) = if place.down { ("input_blocks", before + 1) } else { ("output_blocks", before) };
        let at = first + place.number;
        Some(match place.kind {
            "resnets" => format!("{block}.{at}.0.{}", renamed(place.rest, &RESNET)?),
            "attentions" => format!("{block}.{at}.1.{}", place.rest),
            "downsamplers" => format!("{block}.{}.0.op", first + resnets),
            "upsamplers" => format!("{block}.{}.{}.conv", first + resnets.checked_sub(1)?, 1 + usize::from(attends)),
            _ => return None,
        })
    }
}

/// A layer in a U-Net's blocks: `down_blocks.STAGE.KIND.NUMBER.REST`.
struct Place<'a> {
    down: bool,
    stage: usize,
    kind: &'a str,
    number: usize,
    rest: &'a str,
}

impl<'a> Place<'a> {
    fn of(layer: &'a str) -> Option<Self> {
        let mut parts = layer.splitn(5, '.');
        let down = match parts.next()? {
            "down_blocks" => true,
            "up_blocks" => false,
            _ => return None,
        };
        let (stage, kind) = (parts.next()?.parse().ok()?, parts.next()?);
        Some(Self { down, stage, kind, number: parts.next()?.parse().ok()?, rest: parts.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of SD 1.5 and what its original files call them: CompVis' `v1-inference.yaml` has two residual blocks a stage.
    #[test]
    fn layers_are_found_by_all_their_names() {
        let mut layers =
            vec!["conv_in".to_owned(), "time_embedding.linear_2".into(), "mid_block.resnets.1.conv1".into()];
        for stage in 0..4 {
            layers.extend((0..2).map(|l| format!("down_blocks.{stage}.resnets.{l}.time_emb_proj")));
            layers.extend((0..3).map(|l| format!("up_blocks.{stage}.resnets.{l}.conv_shortcut")));
            layers
                .extend((0..2 * usize::from(stage < 3)).map(|l| format!("down_blocks.{stage}.attentions.{l}.proj_in")));
            let up = (0..3 * usize::from(stage > 0))
                .map(|l| format!("up_blocks.{stage}.attentions.{l}.transformer_blocks.0.attn2.to_out.0"));
            layers.extend(up);
            layers.extend((stage < 3).then(|| format!("down_blocks.{stage}.downsamplers.0.conv")));
            layers.extend((stage < 3).then(|| format!("up_blocks.{stage}.upsamplers.0.conv")));
        }
        let index = index(layers.iter().map(String::as_str));
        for (name, layer) in [
            ("input_blocks_0_0", "conv_in"),
            ("time_embed_2", "time_embedding.linear_2"),
            ("middle_block_2_in_layers_2", "mid_block.resnets.1.conv1"),
            ("input_blocks_1_0_emb_layers_1", "down_blocks.0.resnets.0.time_emb_proj"),
            ("input_blocks_5_1_proj_in", "down_blocks.1.attentions.1.proj_in"),
            ("input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
            ("input_blocks_11_0_emb_layers_1", "down_blocks.3.resnets.1.time_emb_proj"),
            ("output_blocks_2_1_conv", "up_blocks.0.upsamplers.0.conv"),
            ("output_blocks_5_2_conv", "up_blocks.1.upsamplers.0.conv"),
            ("output_blocks_4_0_skip_connection", "up_blocks.1.resnets.1.conv_shortcut"),
            (
                "output_blocks_11_1_transformer_blocks_0_attn2_to_out_0",
                "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0",
            ),
            (
                "up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_out",
                "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0",
            ),
        ] {
            assert_eq!(index.get(name).map(|&at| layers[at].as_str()), Some(layer), "{name}");
        }
    }

    #[test]
    fn words_have_a_prefix_or_none() {
        let layers = ["text_model.encoder.layers.0.self_attn.out_proj", "text_model.encoder.layers.0.mlp.fc1"];
        let index = index(layers.into_iter());
        for (name, at) in [
            ("encoder_layers_0_self_attn_out_proj", 0),
            ("text_model_encoder_layers_0_self_attn_to_out", 0),
            ("encoder_layers_0_self_attn_to_out", 0),
            ("text_model_encoder_layers_0_mlp_fc1", 1),
        ] {
            assert_eq!(index.get(name), Some(&at), "{name}");
        }
    }
}
