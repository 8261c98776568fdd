//! Which configurations describe a network: found out before a tensor library would stumble, or memory be taken.

use super::config::{DownBlockType, TimeEmbedding, UNet2DConfig, UpBlockType};
use crate::networks::read::{COUNT, check_dropout, fail, within};
use crate::networks::{ConfigError, stages};

impl UNet2DConfig {
    /// See [`ClassConfig::check`](crate::networks::ClassConfig::check).
    pub(super) fn check_fields(&self) -> Result<(), ConfigError> {
        stages::check(&self.block_out_channels, self.down_block_types.len(), self.up_block_types.len())?;
        self.check_counts()?;
        self.check_groups()?;
        if self.time_embedding_type == TimeEmbedding::Learned && self.num_train_timesteps.is_none() {
            return fail("time_embedding_type \"learned\" needs num_train_timesteps");
        }
        stages::check_padding(self.downsample_padding)?;
        check_dropout(self.dropout)
    }

    /// Every count is at least 1 and of a size that networks have.
    fn check_counts(&self) -> Result<(), ConfigError> {
        let (height, width) = self.sample_size.map_or((1, 1), |size| size.height_width());
        within("layers_per_block", self.layers_per_block, stages::LAYERS)?;
        let counts = [
            ("sample_size", Some(height)),
            ("sample_size", Some(width)),
            ("in_channels", Some(self.in_channels)),
            ("out_channels", Some(self.out_channels)),
            ("norm_num_groups", Some(self.norm_num_groups)),
            ("attn_norm_num_groups", self.attn_norm_num_groups),
            ("attention_head_dim", self.attention_head_dim),
            ("time_embedding_dim", self.time_embedding_dim),
            ("num_class_embeds", self.num_class_embeds),
            ("num_train_timesteps", self.num_train_timesteps),
        ];
        let channels = self.block_out_channels.iter().map(|&channels| ("block_out_channels", Some(channels)));
        let mut counts = counts.into_iter().chain(channels);
        counts.try_for_each(|(field, count)| count.map_or(Ok(()), |count| within(field, count, COUNT)))
    }

    /// Channels divide into the groups of normalisations and the heads of attention.
    fn check_groups(&self) -> Result<(), ConfigError> {
        for &channels in &self.block_out_channels {
            stages::check_groups(channels, "norm_num_groups", self.norm_num_groups)?;
            if let Some(head) = self.attention_head_dim
                && (self.has_attention() && !channels.is_multiple_of(head) && channels > head)
            {
                return fail(format!("block_out_channels {channels} does not divide into heads of {head}"));
            }
        }
        match (self.attn_norm_num_groups, self.block_out_channels.last()) {
            (Some(groups), Some(&innermost)) => stages::check_groups(innermost, "attn_norm_num_groups", groups),
            _ => Ok(()),
        }
    }

    fn has_attention(&self) -> bool {
        self.add_attention && self.mid_block_type.is_some()
            || self.down_block_types.contains(&DownBlockType::AttnDownBlock2D)
            || self.up_block_types.contains(&UpBlockType::AttnUpBlock2D)
    }
}
