//! LoRA files: what they add, by the definition, and what is refused. Whole pictures are compared in `undiffuse/tests/lora.rs`.

use std::io::Cursor;

use burn::tensor::Device;
use undiffuse_nn::adapters::{Layers, Lora, LoraError};
use undiffuse_nn::weights::{self, Named, Stored};
use undiffuse_nn::{Network, NetworkConfig, init, params};

type InMemory = Lora<Cursor<Vec<u8>>>;

/// Its weights are small whole numbers of eighths, so that sums in f32 and in f64 are the same.
fn network() -> Network {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/unet_condition/sd1/config.json");
    let config = NetworkConfig::from_json(&std::fs::read_to_string(path).unwrap()).unwrap();
    let network = init::initialize(config.network(&Device::flex()).unwrap(), 1);
    params::map(network, |_, value| (value * 8.0).round() / 8.0)
}

fn shape_of(network: &Network, tensor: &str) -> Vec<usize> {
    let mut found = Vec::new();
    params::shapes(network, |name, shape| {
        if name == tensor {
            found = shape.to_vec();
        }
    });
    found
}

fn values(network: &Network, tensor: &str) -> Vec<f32> {
    weights::export(network).into_iter().find(|t| t.name == tensor).unwrap().values
}

fn tensor(name: impl Into<String>, shape: &[usize]) -> Named {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|i| ((i * 7 + shape.len()) % 9) as f32 / 4.0 - 1.0).collect();
    Named { name: name.into(), shape: shape.to_vec(), values }
}

/// The two factors of a layer whose weight has this shape.
fn factors(key: &str, weight: &[usize], rank: usize) -> Vec<Named> {
    let ones = vec![1; weight.len() - 2];
    let (down, up) = ([&[rank], &weight[1..]].concat(), [&[weight[0], rank], &ones[..]].concat());
    vec![tensor(format!("{key}.lora_down.weight"), &down), tensor(format!("{key}.lora_up.weight"), &up)]
}

fn read(tensors: &[Named], entry: Option<(&str, &str)>) -> Result<InMemory, LoraError> {
    let part = ("x.safetensors".to_owned(), Cursor::new(weights::to_bytes(tensors, entry)));
    Lora::of(Stored::read([part])?, "x.safetensors".into())
}

fn refusal(tensors: &[Named]) -> String {
    let network = network();
    let fitted = read(tensors, None).and_then(|lora| lora.fit(&[Layers::of("unet", &network)]));
    match fitted.and_then(|mut fitted| Ok(fitted.add("unet", network, 1.0)?)) {
        Ok(_) => panic!("nothing was refused"),
        Err(e) => e.to_string(),
    }
}

/// `W + scale alpha / rank B A` [Hu21], row by row.
fn expected(before: &[f32], factors: &[Named], factor: f64) -> Vec<f32> {
    let (down, up) = (&factors[0], &factors[1]);
    let (rank, rows) = (down.shape[0], up.shape[0]);
    let columns = before.len() / rows;
    let product = |o: usize, i: usize| -> f64 {
        (0..rank).map(|r| f64::from(up.values[o * rank + r]) * f64::from(down.values[r * columns + i])).sum()
    };
    let at = |k: usize| f64::from(before[k]) + factor * product(k / columns, k % columns);
    (0..before.len()).map(|k| at(k) as f32).collect()
}

const LINEAR: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight";
const WINDOW: &str = "mid_block.resnets.0.conv1.weight";
const POINT: &str = "down_blocks.0.attentions.0.proj_in.weight";

fn kohya(tensor: &str) -> String {
    format!("lora_unet_{}", tensor.trim_end_matches(".weight").replace('.', "_"))
}

#[test]
fn the_product_is_added() {
    let network = network();
    for (tensor, rank, alpha, factor) in
        [(LINEAR, 2, None, 0.5), (WINDOW, 4, Some(2.0), 0.25), (POINT, 1, Some(3.0), 1.5)]
    {
        let shape = shape_of(&network, tensor);
        let mut all = factors(&kohya(tensor), &shape, rank);
        let sum = expected(&values(&network, tensor), &all, factor);
        all.extend(alpha.map(|alpha| Named {
            name: format!("{}.alpha", kohya(tensor)),
            shape: vec![],
            values: vec![alpha],
        }));
        let mut fitted = read(&all, None).unwrap().fit(&[Layers::of("unet", &network)]).unwrap();
        let adapted = fitted.add("unet", network.clone(), 0.5).unwrap();
        assert_eq!(values(&adapted, tensor), sum, "{tensor}");
        let others = |n: &Network| weights::export(n).into_iter().filter(|t| t.name != tensor).collect::<Vec<_>>();
        assert_eq!(others(&adapted), others(&network));
        // The same file again takes it away.
        let mut again = read(&all, None).unwrap().fit(&[Layers::of("unet", &network)]).unwrap();
        assert_eq!(weights::export(&again.add("unet", adapted, -0.5).unwrap()), weights::export(&network), "{tensor}");
    }
}

/// What peft was told, in the header of diffusers' files.
#[test]
fn alphas_are_read_from_the_header() {
    let network = network();
    let key = format!("unet.{}", LINEAR.trim_end_matches(".weight"));
    let mut all = factors("x", &shape_of(&network, LINEAR), 4);
    all[0].name = format!("{key}.lora_A.weight");
    all[1].name = format!("{key}.lora_B.weight");
    for (config, factor) in [
        (r#"{"unet.r": 4, "unet.lora_alpha": 8}"#, 2.0),
        (r#"{"unet.lora_alpha": 8, "unet.use_rslora": true}"#, 4.0),
        (r#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_k": 1, "attn2.to_k": 2}}"#, 0.5),
        (r#"{"lora_alpha": 2}"#, 0.5),
        (r#"{"text_encoder.lora_alpha": 8}"#, 1.0),
        ("no json", 1.0),
    ] {
        let lora = read(&all, Some(("lora_adapter_metadata", config))).unwrap();
        let mut fitted = lora.fit(&[Layers::of("unet", &network)]).unwrap();
        let adapted = fitted.add("unet", network.clone(), 1.0).unwrap();
        assert_eq!(values(&adapted, LINEAR), expected(&values(&network, LINEAR), &all, factor), "{config}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let network = init::initialize(network(), 3);
    let all: Vec<Named> =
        [LINEAR, WINDOW, POINT].iter().flat_map(|t| factors(&kohya(t), &shape_of(&network, t), 3)).collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut fitted = read(&all, None).unwrap().fit(&[Layers::of("unet", &network)]).unwrap();
        pool.install(|| weights::export(&fitted.add("unet", network.clone(), 0.3).unwrap()))
    };
    assert_eq!(with(1), with(5));
}

#[test]
fn other_adapters_are_refused_by_name() {
    let base = factors(&kohya(LINEAR), &shape_of(&network(), LINEAR), 2);
    for (key, kind) in [
        ("dora_scale", "DoRA"),
        ("hada_w1_a", "LoHa of LyCORIS"),
        ("lokr_w2", "LoKr of LyCORIS"),
        ("oft_blocks", "OFT of LyCORIS"),
        ("lora_mid.weight", "Tucker"),
        ("diff_b", "differences of whole weights"),
    ] {
        let key = format!("{}.{key}", kohya(LINEAR));
        let told = refusal(&[base.clone(), vec![tensor(&key, &[2, 2])]].concat());
        assert!(told.contains(kind) && told.contains(&key) && told.contains("x.safetensors"), "{told}");
    }
    let magnitudes = tensor("unet.conv_in.lora_magnitude_vector", &[3]);
    assert!(refusal(&[magnitudes]).contains("DoRA"));
}

#[test]
fn a_lora_of_another_model_says_which_layers() {
    let network = network();
    let shape = shape_of(&network, LINEAR);
    let wide = factors(&kohya(LINEAR), &[shape[0], shape[1] + 1], 2);
    let strange: Vec<Named> =
        (0..7).flat_map(|i| factors(&format!("lora_unet_single_blocks_{i}"), &[4, 4], 2)).collect();
    let words = factors("lora_te_text_model_encoder_layers_0_mlp_fc1", &[4, 4], 2);
    let told = refusal(&[wide, strange, words].concat());
    assert!(told.contains("another model: 9 of its 9 layers don't fit"), "{told}");
    assert!(told.contains(&format!("for a weight {shape:?}")) || told.contains("and 5 more"), "{told}");
    assert!(told.contains("its text_encoder") && told.contains("and 5 more") && !told.contains('\n'), "{told}");
    let own = factors(&kohya(LINEAR), &[shape[0], shape[1] + 1], 2);
    assert!(refusal(&own).contains(&format!("for a weight {shape:?}")), "{}", refusal(&own));
}

#[test]
fn what_is_no_lora_is_refused() {
    let shape = shape_of(&network(), LINEAR);
    let both = factors(&kohya(LINEAR), &shape, 2);
    assert!(refusal(&both[..1]).contains("one factor without the other"));
    assert!(refusal(&[]).contains("no tensors"));
    assert!(refusal(&[tensor(LINEAR, &shape)]).contains("is no part of one"));
    let alpha =
        |values: Vec<f32>| Named { name: format!("{}.alpha", kohya(LINEAR)), shape: vec![values.len()], values };
    assert!(refusal(&[both.clone(), vec![alpha(vec![f32::NAN])]].concat()).contains("one finite number"));
    assert!(refusal(&[both.clone(), vec![alpha(vec![1.0, 2.0])]].concat()).contains("one finite number"));
    let mut damaged = both.clone();
    damaged[1].values[3] = f32::INFINITY;
    assert!(refusal(&damaged).contains("holds inf at 3"));
    let twice = [both.clone(), factors(&format!("unet.{}", LINEAR.trim_end_matches(".weight")), &shape, 2)].concat();
    assert!(refusal(&twice).contains("are the same"));
    // A header that claims 100 GB, and one that is longer than the file.
    let claim = format!(
        r#"{{"{}.lora_down.weight":{{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}}}"#,
        kohya(LINEAR)
    );
    for (size, says) in [(claim.len() as u64, "describes 100000000000 bytes"), (1 << 40, "longer than the file")] {
        let bytes = [&size.to_le_bytes()[..], claim.as_bytes()].concat();
        let told = match Stored::read([("x".to_owned(), Cursor::new(bytes))]) {
            Ok(_) => panic!("it was read"),
            Err(e) => e.to_string(),
        };
        assert!(told.contains(says), "{told}");
    }
}
