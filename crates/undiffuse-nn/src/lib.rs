//! Networks on [Burn](burn): the classes of the field's checkpoints, the operations they are written in, and their weights
//! in diffusers' format.
//!
//! A network here is the bare function `F(x, t, condition) → y`; what its output *means* (noise, image,
//! velocity…) is a parameterisation, and lives in `undiffuse-math`.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Ba16 | Ba et al., Layer normalization, arXiv:1607.06450 |
//! | Hendrycks16 | Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415 |
//! | Devlin19 | Devlin et al., BERT: pre-training of deep bidirectional transformers for language understanding, arXiv:1810.04805 |
//! | Ho20 | Ho et al., Denoising diffusion probabilistic models, arXiv:2006.11239 |
//! | Hu21 | Hu et al., LoRA: low-rank adaptation of large language models, arXiv:2106.09685 |
//! | Kingma14 | Kingma and Welling, Auto-encoding variational Bayes, arXiv:1312.6114 |
//! | Loshchilov19 | Loshchilov and Hutter, Decoupled weight decay regularization, arXiv:1711.05101 |
//! | Meng23 | Meng et al., On distillation of guided diffusion models, arXiv:2210.03142 |
//! | Peebles22 | Peebles and Xie, Scalable diffusion models with transformers, arXiv:2212.09748 |
//! | Radford21 | Radford et al., Learning transferable visual models from natural language supervision, arXiv:2103.00020 |
//! | Ramesh22 | Ramesh et al., Hierarchical text-conditional image generation with CLIP latents, arXiv:2204.06125 |
//! | Reimers19 | Reimers and Gurevych, Sentence-BERT: sentence embeddings using siamese BERT-networks, arXiv:1908.10084 |
//! | Rombach22 | Rombach et al., High-resolution image synthesis with latent diffusion models, arXiv:2112.10752 |
//! | Shazeer20 | Shazeer, GLU variants improve transformer, arXiv:2002.05202 |
//! | Song21 | Song et al., Score-based generative modeling through stochastic differential equations, arXiv:2011.13456 |
//! | Srivastava14 | Srivastava et al., Dropout |
//! | Vaswani17 | Vaswani et al., Attention is all you need, arXiv:1706.03762 |

pub mod adapters;
pub mod init;
pub mod layers;
pub mod networks;
pub mod ops;
pub mod params;
pub mod weights;

pub use networks::{Condition, Network, NetworkConfig};
