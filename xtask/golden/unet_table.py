"""The table of tiny networks: each row sets a few `UNet2DModel` options away from the others'.

`options` go to the constructor (over BASE). `size` is (height, width), `batch` the rows,
`timesteps` one number per row, `labels` the class labels or None. `gradients` stores gradients too,
`dtype` the number type of the weights on disk, `legacy` old tensor and block names.
`may_refuse` marks architectures that a reader may decline by name.
"""

SQRT2 = 2.0**0.5

BASE = {
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (4, 8),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 2,
    "attention_head_dim": 4,
}


def row(name, covers, size=(8, 8), timesteps=(999, 37.25), labels=None, gradients=False,
        dtype="F32", legacy=False, may_refuse=False, **options):
    sample_size = size[0] if size[0] == size[1] else list(size)
    return {
        "name": name,
        "covers": covers,
        "size": size,
        "timesteps": timesteps,
        "labels": labels,
        "gradients": gradients,
        "dtype": dtype,
        "legacy": legacy,
        "may_refuse": may_refuse,
        "own": sorted(options),
        "options": BASE | {"sample_size": sample_size} | options,
    }


ATTENTION = {
    "down_block_types": ("AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D"),
}
RESNET_SAMPLING = {
    "down_block_types": ("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
}

NCSNPP = {"in_channels": 3, "out_channels": 3, "time_embedding_type": "fourier", "norm_num_groups": None, "norm_eps": 1e-6}

FIXTURES = [
    row("plain", "the least options: convolution down and up, widening channels"),
    row("one-level", "a single level: nothing is halved", block_out_channels=(8,),
        down_block_types=("AttnDownBlock2D",), up_block_types=("AttnUpBlock2D",)),
    row("attention", "attention at every level, with one head and with two; gradients",
        gradients=True, in_channels=3, out_channels=3, **ATTENTION),
    row("ddpm-cifar10", "the options of the 2020 checkpoints: one head of all channels, padding 0, sin first, freq_shift 1",
        size=(16, 16), timesteps=(512, 3), in_channels=3, out_channels=3, attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6),
    row("legacy-names", "tensor names query/key/value/proj_attn and block names UNetRes… of old checkpoints",
        legacy=True, may_refuse=True, block_out_channels=(4, 4), attention_head_dim=None,
        down_block_types=("UNetResDownBlock2D", "UNetResAttnDownBlock2D"),
        up_block_types=("UNetResAttnUpBlock2D", "UNetResUpBlock2D")),
    row("classes-28", "28 -> 14 -> 7, layers_per_block 2, class embeddings, attention on the lowest level, gradients",
        size=(28, 28), labels=(3, 9), gradients=True, layers_per_block=2, block_out_channels=(4, 4, 8),
        attention_head_dim=8, num_class_embeds=11,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D")),
    row("layers-3-gelu", "layers_per_block 3, act_fn gelu", layers_per_block=3,
        act_fn="gelu", attention_head_dim=2),
    row("resnet-blocks", "Resnet{Down,Up}sampleBlock2D, scale_shift, six output channels (learned variance), gradients",
        gradients=True, in_channels=3, out_channels=6,
        resnet_time_scale_shift="scale_shift", **RESNET_SAMPLING),
    row("resnet-blocks-default", "Resnet{Down,Up}sampleBlock2D with the additive time embedding, layers_per_block 2",
        layers_per_block=2, **RESNET_SAMPLING),
    row("resnet-sampling", "downsample_type and upsample_type resnet inside the attention blocks",
        in_channels=4, out_channels=4, downsample_type="resnet", upsample_type="resnet", **ATTENTION),
    row("attention-padding-0", "downsample_padding 0 inside the attention blocks, three levels, uneven block order",
        block_out_channels=(4, 8, 4), downsample_padding=0,
        down_block_types=("AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")),
    row("fourier", "Fourier time embedding (timestep is a noise level, the output is divided by it)",
        timesteps=(12.5, 0.02), time_embedding_type="fourier"),
    row("learned-relu", "learned time embedding, act_fn relu", timesteps=(0, 49),
        time_embedding_type="learned", num_train_timesteps=50, act_fn="relu"),
    row("class-timestep-mish", "class_embed_type timestep, act_fn mish, sin first with freq_shift 0",
        labels=(17.5, 400.0), class_embed_type="timestep", act_fn="mish", flip_sin_to_cos=False),
    row("class-identity-swish", "class_embed_type identity (labels are embeddings), act_fn swish, freq_shift 1",
        labels="embedding", class_embed_type="identity", act_fn="swish", freq_shift=1),
    row("no-mid", "mid_block_type null", mid_block_type=None),
    row("no-mid-attention", "add_attention false, mid_block_scale_factor sqrt(2), center_input_sample",
        add_attention=False, mid_block_scale_factor=SQRT2, center_input_sample=True),
    row("mid-scale", "mid_block_scale_factor sqrt(2) with attention in the middle", mid_block_scale_factor=SQRT2),
    row("not-square", "12 high, 20 wide; 3 rows; dropout 0.5 (no effect when predicting); 4 channels in, 2 out",
        size=(12, 20), timesteps=(1, 250.5, 998), in_channels=4, out_channels=2, dropout=0.5,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")),
    row("norm-eps", "norm_eps large enough to be seen, and time_embedding_dim 20", norm_eps=0.05, time_embedding_dim=20,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")),
    row("scale-shift-attention", "scale_shift: the attention of the middle block has no group norm, the others have",
        resnet_time_scale_shift="scale_shift", **ATTENTION),
    row("attn-norm-groups", "attn_norm_num_groups 4 with scale_shift: the attention of the middle block has one again",
        resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4),
    row("half-weights", "weights stored as float16", dtype="F16"),
    row("bfloat-weights", "weights stored as bfloat16", dtype="BF16"),
    row("ncsnpp", "Skip{Down,Up}Block2D: FIR resampling beside an image pyramid, Fourier time, norm_num_groups null",
        may_refuse=True, timesteps=(30.0, 0.5), block_out_channels=(8, 8), attention_head_dim=None,
        mid_block_scale_factor=SQRT2, down_block_types=("SkipDownBlock2D", "SkipDownBlock2D"),
        up_block_types=("SkipUpBlock2D", "SkipUpBlock2D"), **NCSNPP),
    row("ncsnpp-attention", "AttnSkip{Down,Up}Block2D as in the VE checkpoints (32 groups whatever the config says)",
        may_refuse=True, timesteps=(300.0, 0.05), block_out_channels=(32,), attention_head_dim=16, time_embedding_dim=12,
        mid_block_type=None, dtype="F16", down_block_types=("AttnSkipDownBlock2D",),
        up_block_types=("AttnSkipUpBlock2D",), **NCSNPP),
]

# For each option, a value that must change the output of any fixture that sets it otherwise.
OTHERWISE = {
    "center_input_sample": (False,),
    "freq_shift": (0, 1),
    "flip_sin_to_cos": (True, False),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (1, 0),
    "act_fn": ("silu", "gelu", "relu", "mish"),
    "attention_head_dim": (4, 2),
    "norm_num_groups": (4, 2),
    "attn_norm_num_groups": (2, 4),
    "norm_eps": (1e-5, 0.05),
}
