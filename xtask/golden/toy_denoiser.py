"""Tiny networks that do denoise: trained for seconds on blobs, so that golden samples stay of unit size.

An untrained network leaves samples two hundred times too large, beside which a wrong last step
would not be seen.
"""

import torch

from common import generator, normal


def blobs(n: int, channels: int, size: int, labels, keys) -> torch.Tensor:
    """[n, C, size, size] in [-1, 1]: one soft spot each; a label moves it to its own row of the image."""
    centre = torch.rand(n, 2, 1, 1, generator=keys) * (size - 1)
    if labels is not None:
        centre[:, 0, 0, 0] = torch.where(labels < 10, labels * (size - 1) / 9, centre[:, 0, 0, 0])
    colour = 0.5 + 0.5 * torch.rand(n, channels, 1, 1, generator=keys)
    grid = torch.arange(size)
    distance = (grid[None, :, None] - centre[:, :1, 0]) ** 2 + (grid[None, None, :] - centre[:, 1:, 0]) ** 2
    return 2 * colour * torch.exp(-distance / 4)[:, None] - 1


def vp_example(scheduler, x0, eps, keys):
    """(network input, what it is told, target, loss weight) on a discrete variance-preserving schedule."""
    t = torch.randint(scheduler.config.num_train_timesteps, (len(x0),), generator=keys)
    square = scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1).float()
    alpha, sigma = square.sqrt(), (1 - square).sqrt()
    target = {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0}[scheduler.config.prediction_type]
    return alpha * x0 + sigma * eps, t.float(), target


def edm_example(scheduler, x0, eps, keys):
    """The same for EDM [Karras22, Table 1]; "v_prediction" flips the sign of the output there."""
    log_sigma = torch.randn(len(x0), generator=keys) * 1.6 - 0.4
    sigma, data = log_sigma.exp().reshape(-1, 1, 1, 1), scheduler.config.sigma_data
    x = x0 + sigma * eps
    root = (sigma**2 + data**2).sqrt()
    out = sigma * data / root * (-1 if scheduler.config.prediction_type == "v_prediction" else 1)
    return x / root, log_sigma / 4, (x0 - data**2 / root**2 * x) / out


def consistency_example(scheduler, x0, eps, keys):
    """EDM's with the clean end of a consistency model, told 250 ln(sigma) [Song23, Appendix C]. What is learnt is a denoiser."""
    least, data = scheduler.config.sigma_min, scheduler.config.sigma_data
    log_sigma = torch.randn(len(x0), generator=keys) * 1.6 - 0.4
    sigma = log_sigma.exp().reshape(-1, 1, 1, 1) + 2 * least
    x = x0 + sigma * eps
    root, gap = (sigma**2 + data**2).sqrt(), sigma - least
    skip = data**2 / (gap**2 + data**2)
    return x / root, 250 * sigma.flatten().log(), (x0 - skip * x) * root / (gap * data)


def ve_example(scheduler, x0, eps, keys):
    """The score of a variance-exploding schedule, times sigma: the network divides by sigma itself."""
    low, high = scheduler.config.sigma_min, scheduler.config.sigma_max
    sigma = low * (high / low) ** torch.rand(len(x0), generator=keys)
    return x0 + sigma.reshape(-1, 1, 1, 1) * eps, sigma, -eps / sigma.reshape(-1, 1, 1, 1)


def flow_example(scheduler, x0, eps, keys):
    """Rectified flow: the velocity eps − x0, told 1000 t."""
    t = torch.rand(len(x0), generator=keys)
    line = t.reshape(-1, 1, 1, 1)
    return (1 - line) * x0 + line * eps, 1000 * t, eps - x0


def example_of(scheduler):
    """The kind of training that a scheduler's networks get."""
    name, prediction = type(scheduler).__name__, scheduler.config.get("prediction_type")
    if name.startswith("EDM"):
        return edm_example
    if name.startswith("CM"):
        return consistency_example
    if name.startswith("ScoreSdeVe"):
        return ve_example
    return flow_example if name.startswith("FlowMatch") or prediction == "flow_prediction" else vp_example


def train(model, scheduler, *words, steps=600, batch=96) -> float:
    """Adam on the mean square error; VE's loss is weighted by sigma^2. Gives the last loss."""
    keys, example = generator("toy", *words), example_of(scheduler)
    channels, size = model.config.in_channels, model.config.sample_size
    classes = model.config.num_class_embeds
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    curve = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        labels = torch.randint(classes, (batch,), generator=keys) if classes else None
        x0 = blobs(batch, channels, size, labels, keys)
        eps = torch.randn(x0.shape, generator=keys)
        x, told, target = example(scheduler, x0, eps, keys)
        difference = model(x, told, class_labels=labels).sample[:, :channels] - target
        if example is ve_example:
            difference = difference * told.reshape(-1, 1, 1, 1)
        loss = (difference**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.step()
    model.requires_grad_(False).eval()
    with torch.no_grad():  # training shrinks some of these towards 0; a reader must not be able to drop them
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.02 * normal(parameter.shape, *words, name))
    return loss.item()
