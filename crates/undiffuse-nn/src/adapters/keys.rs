//! What the keys of a LoRA file say: which network, which layer, which part. One table of each.
//!
//! | style | key |
//! |---|---|
//! | peft | `unet.down_blocks.0.….attn1.to_q.lora_A.weight`, `.lora_B.weight` |
//! | diffusers | `unet.….to_q.lora.down.weight`, `text_encoder.….q_proj.lora_linear_layer.up.weight` |
//! | diffusers' attention processors | `….attn1.processor.to_q_lora.down.weight`, with `unet.` before it or not |
//! | kohya | `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, `lora_te_text_model_….alpha` |
//! | the same of the original layout | `lora_unet_input_blocks_1_1_….lora_up.weight` |

/// A part of what is added to one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `A`, the first factor: from a layer's input to the rank.
    Down,
    /// `B`, the second: to its output.
    Up,
    /// The number that is divided by the rank.
    Alpha,
}

/// How keys begin, and the network that is meant. The last one is that of files before there were others.
const NETWORKS: [(&str, &str); 8] = [
    ("lora_unet_", "unet"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te_", "text_encoder"),
    ("unet.", "unet"),
    ("text_encoder_2.", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("", "unet"),
];

/// How keys end.
const PARTS: [(&str, Part); 11] = [
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".lora.down.weight", Part::Down),
    (".lora.up.weight", Part::Up),
    (".lora_linear_layer.down.weight", Part::Down),
    (".lora_linear_layer.up.weight", Part::Up),
    ("_lora.down.weight", Part::Down),
    ("_lora.up.weight", Part::Up),
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".alpha", Part::Alpha),
];

/// What other adapters' keys hold, and what these are called.
const OTHERS: [(&str, &str); 14] = [
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    ("hada_", "LoHa of LyCORIS"),
    ("lokr_", "LoKr of LyCORIS"),
    ("oft_", "OFT of LyCORIS"),
    ("boft_", "BOFT"),
    ("lora_mid", "LoCon in Tucker's form, of LyCORIS"),
    (".on_input", "IA3 of LyCORIS"),
    (".diff", "differences of whole weights, of LyCORIS"),
    (".w_norm", "norms of LyCORIS"),
    (".b_norm", "norms of LyCORIS"),
    (".a1.weight", "GLoRA of LyCORIS"),
    ("lora_B.bias", "LoRA with offsets"),
    ("emb_params", "a textual inversion"),
];

/// The network that a key is about, its layer as it is written there, and the part; `None` of what is no LoRA's.
pub fn read(key: &str) -> Option<(&'static str, &str, Part)> {
    let (end, part) = PARTS.into_iter().find(|(end, _)| key.ends_with(end))?;
    let key = &key[..key.len() - end.len()];
    let (begin, network) = NETWORKS.into_iter().find(|(begin, _)| key.starts_with(begin))?;
    Some((network, &key[begin.len()..], part))
}

/// The kind of adapter, not LoRA, that a key belongs to.
pub fn other(key: &str) -> Option<&'static str> {
    OTHERS.into_iter().find(|(mark, _)| key.contains(mark)).map(|(_, kind)| kind)
}

/// A layer's name as it can be compared whatever the style: kohya's, which has no dots.
pub fn plain(layer: &str) -> String {
    layer.replace(".processor", "").replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_network_layer_and_part() {
        for (key, expected) in [
            ("unet.mid_block.attn.to_q.lora_A.weight", ("unet", "mid_block_attn_to_q", Part::Down)),
            ("text_encoder.layers.0.fc1.lora_linear_layer.up.weight", ("text_encoder", "layers_0_fc1", Part::Up)),
            ("mid_block.attn1.processor.to_out_lora.up.weight", ("unet", "mid_block_attn1_to_out", Part::Up)),
            ("lora_te2_layers_0_fc1.alpha", ("text_encoder_2", "layers_0_fc1", Part::Alpha)),
            ("lora_te_layers_0_fc1.lora_down.weight", ("text_encoder", "layers_0_fc1", Part::Down)),
        ] {
            let (network, layer, part) = read(key).unwrap();
            assert_eq!((network, plain(layer).as_str(), part), expected, "{key}");
        }
        assert_eq!(read("unet.conv_in.weight"), None);
        assert_eq!(other("lora_unet_mid_block.hada_w1_a"), Some("LoHa of LyCORIS"));
        assert_eq!(other("unet.conv_in.lora_A.weight"), None);
    }
}
