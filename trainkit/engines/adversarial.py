"""Adversarial training: a generator and a discriminator, each with an optimizer of its own."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.optim import Optimizer

from trainkit.engines.adversarial_evaluation import adversarial_evaluator
from trainkit.engines.adversarial_output import adversarial_loss, adversarial_output, real_images
from trainkit.engines.engines import Engines
from trainkit.engines.evaluation import evaluation_mode
from trainkit.engines.prepare_batch import refuse_early_end
from trainkit.engines.reduction import alone, without_reduction
from trainkit.engines.sample_score import Judge, SampleScore

__all__ = ["adversarial_engines", "adversarial_trainer"]

_NAMES = ("generator", "discriminator")
_AT_ONCE = 1000  # samples per forward pass of the generator
_SHOWN = 72  # pixels: images in the picture of samples are at most so large, if they are enlarged


def adversarial_trainer(
    models: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    *,
    device: torch.device | str,
    latent: int,
    discriminator_steps: int = 1,
    real_target: float = 1.0,
    clip_grad_norm: float | None = None,
) -> Engine:
    """An Ignite engine whose iteration is one generator step, after those of the discriminator.

    With logits D(x), real images x, latent vectors z ~ N(0, 1), and BCE(l, t) the mean binary
    cross entropy of the logits l with the target t, each discriminator step lowers

        BCE(D(x), real_target) + BCE(D(G(z)), 0)

    with the generator held, and the generator step lowers BCE(D(G(z)), 1) (the loss that does not
    saturate) with the discriminator held: it leaves no gradient in the discriminator.

    Each discriminator step takes a part of the batch of its own, of 1 / discriminator_steps of
    the rows, and new latent vectors (a batch of fewer rows than steps goes round); the generator
    step makes as many images as the batch has rows. Nothing reads the device. Gradients stay as
    they are after a step until that network's next one.

    The output: `losses` has `discriminator_real` and `discriminator_fake`, means over the
    discriminator steps, and `generator`, each as it was before its step; `loss` is their sum.
    `y_pred` and `y` are the discriminator's logits on real images (1) and made ones (0) in its
    last step; `scalars` has its mean probabilities on the two.

    Tags: `predictions/real`, `predictions/fake`, beside those of losses and predictions.

    Args:
        models: `generator` (latent vectors `[N, latent]` in, images out) and `discriminator`
            (images in, logits `[N]` or `[N, 1]` out), on `device`.
        optimizers: By the same names.
        device: Where the batches go; latent vectors are drawn there.
        latent: Numbers per latent vector.
        discriminator_steps: Per generator step.
        real_target: Less than 1 keeps the discriminator from being too sure.
        clip_grad_norm: Global norm over the parameters of a network, in each of its steps.

    Returns:
        An engine over batches `x`, or `(x, …)`, of which nothing but `x` is used.

    Raises:
        TypeError: Not the two models, or not their two optimizers.
        ValueError: A value out of range.

    Source: I. Goodfellow et al., "Generative Adversarial Nets", 2014, algorithm 1; `real_target`:
    T. Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.4.
    """
    _check(models, optimizers, latent, discriminator_steps, real_target, clip_grad_norm)
    device = torch.device(device)
    generator, discriminator = (models[name] for name in _NAMES)
    judging = alone(discriminator)  # it only judges here: there are no gradients to exchange
    of_generator, of_discriminator = (optimizers[name] for name in _NAMES)

    def parameters_of(optimizer: Optimizer) -> list[Tensor]:
        return [p for group in optimizer.param_groups for p in group["params"]]

    def made(n: int) -> Tensor:
        fake: Tensor = generator(torch.randn(n, latent, device=device))
        return fake

    def step(optimizer: Optimizer) -> None:
        if clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters_of(optimizer), clip_grad_norm)
        optimizer.step()

    def discriminator_step(real: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            fake = made(len(real))
        of_discriminator.zero_grad(set_to_none=True)
        with without_reduction(discriminator):
            on_real = discriminator(real)
            loss_real = adversarial_loss(on_real, real_target)
            loss_real.backward()  # type: ignore[no-untyped-call]
        on_fake = discriminator(fake)
        loss_fake = adversarial_loss(on_fake, 0.0)
        loss_fake.backward()  # type: ignore[no-untyped-call]
        step(of_discriminator)
        return loss_real.detach(), loss_fake.detach(), on_real.detach(), on_fake.detach()

    def generator_step(n: int) -> Tensor:
        of_generator.zero_grad(set_to_none=True)
        loss = adversarial_loss(judging(made(n)), 1.0)
        # Only the generator's parameters: a plain backward() would add to the discriminator's.
        loss.backward(inputs=[p for p in parameters_of(of_generator) if p.requires_grad])  # type: ignore[no-untyped-call]
        step(of_generator)
        return loss.detach()

    def train_step(engine: Engine, batch: Any) -> dict[str, Any]:
        for model in (generator, discriminator):
            if not model.training:
                model.train()
        real = real_images(batch, device)
        parts = real.tensor_split(min(discriminator_steps, len(real)))
        steps = [discriminator_step(parts[i % len(parts)]) for i in range(discriminator_steps)]
        losses = {
            "discriminator_real": torch.stack([step[0] for step in steps]).mean(),
            "discriminator_fake": torch.stack([step[1] for step in steps]).mean(),
            "generator": generator_step(len(real)),
        }
        return adversarial_output(losses, *steps[-1][2:])

    return refuse_early_end(Engine(train_step))


def adversarial_engines(
    models: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    device: torch.device,
    latent: int,
    loss_fn: Any = None,
    discriminator_steps: int = 1,
    real_target: float = 1.0,
    clip_grad_norm: float | None = None,
    judge: Judge | Callable[[Tensor], Tensor] | None = None,
    judged: int = 1000,
    shown: int = 64,
    seed: int = 0,
) -> Engines:
    """Adversarial training, as `run` takes it: see `adversarial_trainer`.

    After each evaluation a picture of samples is shown, always from the same latent vectors. With
    a judge there are metrics about samples: `sample_confidence`, `sample_classes`,
    `sample_balance`: see `SampleScore`.

    Args:
        models: As for `adversarial_trainer`; the images are in [−1, 1], of 1 or 3 channels.
        optimizers: By the same names.
        device: Of the models.
        latent: Numbers per latent vector.
        loss_fn: There must be none: the loss is part of this engine.
        discriminator_steps: Per generator step.
        real_target: What the discriminator is to say of real images in training.
        clip_grad_norm: Global norm over the parameters of a network, in each of its steps.
        judge: Images in, probabilities of classes out; None: no metrics about samples.
        judged: Samples that are judged.
        shown: Samples in the picture.
        seed: Of the latent vectors of all that is shown and judged.

    Raises:
        TypeError: Not the two models, or not their two optimizers, or there is a loss.
        ValueError: A value out of range.
    """
    if loss_fn is not None:
        raise TypeError("adversarial training has its own losses: choose loss=null")
    for name, value in (("judged", judged), ("shown", shown)):
        if value < 1:
            raise ValueError(f"engine.{name} must be 1 or more, got {value}")
    trainer = adversarial_trainer(
        models,
        optimizers,
        device=device,
        latent=latent,
        discriminator_steps=discriminator_steps,
        real_target=real_target,
        clip_grad_norm=clip_grad_norm,
    )
    networks = {name: alone(models[name]) for name in _NAMES}
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(max(judged, shown), latent, generator=random).to(device)
    made = partial(_made, networks["generator"])
    metrics: dict[str, Metric] = {}
    if judge is not None:
        judged_latents, judgement = latents[:judged], judge
        metrics = {
            f"sample_{score}": SampleScore(score, lambda: judgement(made(judged_latents)))
            for score in SampleScore.SCORES
        }
    return Engines(
        trainer,
        partial(adversarial_evaluator, networks, device=device, latent=latent, seed=seed),
        metrics=metrics,
        predictions="binary_logits",
        classes=("made", "real"),
        samples={"samples": lambda: _picture(made(latents[:shown]))},
    )


def _made(generator: nn.Module, latents: Tensor) -> Tensor:
    """Samples of the generator in evaluation mode; its mode is restored."""
    with torch.no_grad(), evaluation_mode(generator):
        return torch.cat([generator(part) for part in torch.split(latents, _AT_ONCE)])


def _picture(images: Tensor) -> Tensor:
    """Images in [−1, 1] as [0, 1], small ones enlarged, with a frame between them."""
    times = max(1, _SHOWN // images.shape[-1])
    return pad(interpolate((images.float() + 1) / 2, scale_factor=times), (1, 1, 1, 1), value=0.5)


def _check(
    models: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    latent: int,
    discriminator_steps: int,
    real_target: float,
    clip_grad_norm: float | None,
) -> None:
    for kind, found in (("models", models), ("optimizers", optimizers)):
        if set(found) != set(_NAMES):
            raise TypeError(
                f"adversarial training needs two {kind}, {' and '.join(_NAMES)}, got "
                f"{', '.join(found) or 'none'}; choose another engine, or both model and "
                "optimizer by these names"
            )
    for name, value in (("latent", latent), ("discriminator_steps", discriminator_steps)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"engine.{name} must be a whole number, got {value!r}")
        if value < 1:
            raise ValueError(f"engine.{name} must be 1 or more, got {value}")
    if not 0 < real_target <= 1:
        raise ValueError(f"engine.real_target must be in (0, 1], got {real_target}")
    if clip_grad_norm is not None and not clip_grad_norm > 0:
        raise ValueError(f"clip_grad_norm must be greater than 0, got {clip_grad_norm}")
