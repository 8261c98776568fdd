//! Which configurations describe a network: found out before a tensor library would stumble, or memory be taken.

use super::config::{ConditionClassEmbed, Each, TransformerLayers, UNet2DConditionConfig};
use crate::networks::ConfigError;
use crate::networks::read::{COUNT, check_dropout, fail, lacking, within};
use crate::networks::stages::{self, LAYERS};

/// Most blocks of all transformers together.
const BLOCKS: usize = 4096;
/// The largest side of a filter.
const KERNEL: usize = 31;

impl UNet2DConditionConfig {
    /// See [`ClassConfig::check`](crate::networks::ClassConfig::check).
    pub(super) fn check_fields(&self) -> Result<(), ConfigError> {
        self.check_has()?;
        self.check_stages()?;
        self.check_counts()?;
        self.check_groups()?;
        stages::check_padding(self.downsample_padding)?;
        check_dropout(self.dropout)?;
        let projected = matches!(
            self.class_embed_type,
            Some(ConditionClassEmbed::Projection | ConditionClassEmbed::SimpleProjection)
        );
        if projected && self.projection_class_embeddings_input_dim.is_none() {
            return fail("class_embed_type needs projection_class_embeddings_input_dim");
        }
        if self.class_embeddings_concat && self.class_embed_type.is_none() && self.num_class_embeds.is_none() {
            return fail("class_embeddings_concat needs a class_embed_type or num_class_embeds");
        }
        Ok(())
    }

    /// Options that have no part here.
    fn check_has(&self) -> Result<(), ConfigError> {
        if let Some(kind) = &self.addition_embed_type {
            let whose = if kind == "text_time" { "SDXL's sizes and pooled words" } else { "further conditions" };
            return lacking(format!("addition_embed_type \"{kind}\" ({whose})"));
        }
        let kind = self.encoder_hid_dim_type.as_deref();
        if let Some(kind) = kind.filter(|&kind| kind != "text_proj") {
            return lacking(format!("encoder_hid_dim_type \"{kind}\" (only \"text_proj\" is read)"));
        }
        if kind.is_some() && self.encoder_hid_dim.is_none() {
            return fail("encoder_hid_dim_type needs encoder_hid_dim");
        }
        if self.time_embedding_type != "positional" {
            return lacking(format!("time_embedding_type \"{}\"", self.time_embedding_type));
        }
        if self.attention_type != "default" {
            return lacking(format!("attention_type \"{}\" (GLIGEN)", self.attention_type));
        }
        if self.dual_cross_attention {
            return lacking("dual_cross_attention (Versatile Diffusion)");
        }
        if self.num_attention_heads.is_some() {
            return lacking("num_attention_heads (diffusers refuses it, too: attention_head_dim is what counts)");
        }
        Ok(())
    }

    fn check_stages(&self) -> Result<(), ConfigError> {
        let stages = self.stages();
        stages::check(&self.block_out_channels, self.down_block_types.len(), self.up_block_types.len())?;
        let one_each = |field: &str, length: Option<usize>| match length {
            Some(length) if length != stages => {
                fail(format!("{field} has {length} entries for {stages} stages in block_out_channels"))
            }
            _ => Ok(()),
        };
        one_each("only_cross_attention", listed(&self.only_cross_attention))?;
        one_each("layers_per_block", listed(&self.layers_per_block))?;
        one_each("cross_attention_dim", listed(&self.cross_attention_dim))?;
        one_each("attention_head_dim", listed(&self.attention_head_dim))?;
        for &layers in self.layers_per_block.written() {
            within("layers_per_block", layers, LAYERS)?;
        }
        self.check_transformers(stages)
    }

    /// Every transformer's number of blocks is said, and is a number that there can be.
    fn check_transformers(&self, stages: usize) -> Result<(), ConfigError> {
        let count = |field: &str, each: &Each<usize>, layers: usize| {
            if let Each::List(list) = each
                && list.len() != layers
            {
                return fail(format!("{field} has {} entries for a stage of {layers} layers", list.len()));
            }
            each.written().iter().try_for_each(|&blocks| within(field, blocks, LAYERS))
        };
        let same = |field: &str, length: usize| match length == stages {
            true => Ok(()),
            false => fail(format!("{field} has {length} entries for {stages} stages in block_out_channels")),
        };
        let down = "transformer_layers_per_block";
        match &self.transformer_layers_per_block {
            TransformerLayers::All(layers) => within(down, *layers, LAYERS)?,
            TransformerLayers::Stages(list) => {
                same(down, list.len())?;
                for (stage, each) in list.iter().enumerate() {
                    count(down, each, self.layers_per_block.of(stage))?;
                }
                let nested = list.iter().any(|each| matches!(each, Each::List(_)));
                if nested && self.reverse_transformer_layers_per_block.is_none() {
                    return fail("transformer_layers_per_block by layer needs reverse_transformer_layers_per_block");
                }
            }
        }
        let up = "reverse_transformer_layers_per_block";
        if let Some(list) = &self.reverse_transformer_layers_per_block {
            same(up, list.len())?;
            for (each, stage) in list.iter().zip((0..stages).rev()) {
                count(up, each, self.layers_per_block.of(stage) + 1)?;
            }
        }
        let of_stage = |stage: usize| {
            let layers = self.layers_per_block.of(stage);
            let down: usize = (0..layers).map(|layer| self.down_layers(stage, layer)).sum();
            down + (0..=layers).map(|layer| self.up_layers(stages - 1 - stage, layer)).sum::<usize>()
        };
        within("the number of all blocks in transformer_layers_per_block", (0..stages).map(of_stage).sum(), BLOCKS)
    }

    /// Every count is at least 1 and of a size that networks have.
    fn check_counts(&self) -> Result<(), ConfigError> {
        let (height, width) = self.sample_size.map_or((1, 1), |size| size.height_width());
        within("conv_in_kernel", self.conv_in_kernel, KERNEL)?;
        within("conv_out_kernel", self.conv_out_kernel, KERNEL)?;
        if self.conv_in_kernel.is_multiple_of(2) || self.conv_out_kernel.is_multiple_of(2) {
            return fail("conv_in_kernel and conv_out_kernel must be odd: pictures would shrink");
        }
        let counts = [
            ("sample_size", Some(height)),
            ("sample_size", Some(width)),
            ("in_channels", Some(self.in_channels)),
            ("out_channels", Some(self.out_channels)),
            ("norm_num_groups", Some(self.norm_num_groups)),
            ("encoder_hid_dim", self.encoder_hid_dim),
            ("time_embedding_dim", self.time_embedding_dim),
            ("time_cond_proj_dim", self.time_cond_proj_dim),
            ("num_class_embeds", self.num_class_embeds),
            ("projection_class_embeddings_input_dim", self.projection_class_embeddings_input_dim),
        ];
        let each = |field, list: &[usize]| list.iter().map(|&count| (field, Some(count))).collect::<Vec<_>>();
        let counts = counts
            .into_iter()
            .chain(each("block_out_channels", &self.block_out_channels))
            .chain(each("cross_attention_dim", self.cross_attention_dim.written()))
            .chain(each("attention_head_dim", self.attention_head_dim.written()));
        for (field, count) in counts {
            count.map_or(Ok(()), |count| within(field, count, COUNT))?;
        }
        let widths = self.cross_attention_dim.written();
        match widths.iter().all(|width| *width == widths[0]) {
            true => Ok(()),
            false => lacking("tokens of another width for each stage (cross_attention_dim)"),
        }
    }

    /// Channels divide into the groups of normalisations, and are enough for the heads of attention.
    fn check_groups(&self) -> Result<(), ConfigError> {
        for (stage, &channels) in self.block_out_channels.iter().enumerate() {
            let (groups, heads) = (self.norm_num_groups, self.attention_head_dim.of(stage));
            stages::check_groups(channels, "norm_num_groups", groups)?;
            if heads > channels {
                return fail(format!("attention_head_dim (the heads) is {heads}, more than the {channels} channels"));
            }
        }
        Ok(())
    }
}

/// Entries of a list.
fn listed<T>(each: &Each<T>) -> Option<usize> {
    match each {
        Each::All(_) => None,
        Each::List(list) => Some(list.len()),
    }
}
