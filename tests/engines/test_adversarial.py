import copy
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainkit.data import Batches, Data
from trainkit.engines import (
    Judge,
    adversarial_engines,
    adversarial_evaluator,
    adversarial_trainer,
)
from trainkit.handlers import attach_monitors
from trainkit.models import DCGANDiscriminator, DCGANGenerator
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings
from trainkit.training import RunResult, run
from trainkit.writers import MemoryWriter

LATENT = 3


def networks(seed: int = 0) -> dict[str, nn.Module]:
    """Both with batch normalization or dropout: their state and draws have to be right, too."""
    torch.manual_seed(seed)
    return {
        "generator": nn.Sequential(
            nn.Linear(LATENT, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh()
        ),
        "discriminator": nn.Sequential(
            nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(6, 1)
        ),
    }


def adams(models: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    return {
        name: torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.5, 0.999))
        for name, model in models.items()
    }


def batches(sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(1)
    return [(torch.rand(n, 4, generator=g) * 2 - 1, torch.zeros(n).long()) for n in sizes]


def weights(models: dict[str, nn.Module]) -> Tensor:
    states = [model.state_dict().values() for model in models.values()]
    return torch.cat([value.flatten().double() for state in states for value in state])


def bce(logits: Tensor, target: float) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def by_hand(
    models: dict[str, nn.Module], data: list[tuple[Tensor, Tensor]], k: int, real_target: float
) -> Iterator[dict[str, Any]]:
    """Algorithm 1, with gradients that belong to nothing but the loss at hand."""
    generator, discriminator = models["generator"], models["discriminator"]
    optimizers = adams(models)
    for x, _ in data:
        found: dict[str, Any] = {"real": [], "fake": [], "discriminator_gradients": []}
        for part in x.tensor_split(k):
            with torch.no_grad():
                fake = generator(torch.randn(len(part), LATENT))
            on_real = discriminator(part)
            on_fake = discriminator(fake)
            real_loss, fake_loss = bce(on_real, real_target), bce(on_fake, 0.0)
            parameters = list(discriminator.parameters())
            gradients = torch.autograd.grad(real_loss, parameters)
            added = torch.autograd.grad(fake_loss, parameters)
            for p, a, b in zip(parameters, gradients, added, strict=True):
                p.grad = a + b
            optimizers["discriminator"].step()
            found["real"].append(real_loss.detach())
            found["fake"].append(fake_loss.detach())
            found["discriminator_gradients"].append([p.grad for p in parameters])
        found["on_real"], found["on_fake"] = on_real.detach(), on_fake.detach()
        loss = bce(discriminator(generator(torch.randn(len(x), LATENT))), 1.0)
        parameters = list(generator.parameters())
        for p, a in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = a
        optimizers["generator"].step()
        yield found | {
            "generator": loss.detach(),
            "generator_gradients": [p.grad for p in parameters],
        }


@pytest.mark.parametrize("k", [1, 3])
def test_is_the_loop_by_hand_bit_by_bit(k: int) -> None:
    models, data = networks(), batches([8, 8, 7])
    twins = copy.deepcopy(models)
    torch.manual_seed(5)
    expected = list(by_hand(twins, data, k, 0.9))
    trainer = adversarial_trainer(
        models, adams(models), device="cpu", latent=LATENT, discriminator_steps=k, real_target=0.9
    )
    torch.manual_seed(5)
    output: Any = trainer.run(data).output
    assert torch.equal(weights(models), weights(twins))
    last = expected[-1]
    assert set(output) == {"loss", "losses", "y_pred", "y", "scalars"}
    losses = output["losses"]
    assert losses["discriminator_real"].equal(torch.stack(last["real"]).mean())
    assert losses["discriminator_fake"].equal(torch.stack(last["fake"]).mean())
    assert losses["generator"].equal(last["generator"])
    torch.testing.assert_close(output["loss"], sum(losses.values()))
    assert torch.equal(output["y_pred"], torch.cat([last["on_real"], last["on_fake"]]))
    n = len(last["on_real"])
    assert output["y"].flatten().tolist() == [1.0] * n + [0.0] * n
    assert output["scalars"]["predictions/real"].equal(last["on_real"].sigmoid().mean())
    assert output["scalars"]["predictions/fake"].equal(last["on_fake"].sigmoid().mean())
    values = [output["loss"], output["y_pred"], *losses.values(), *output["scalars"].values()]
    assert not any(value.requires_grad for value in values)
    # The generator's backward pass went through the discriminator and left nothing there.
    for name, model in models.items():
        of_last_step = last[f"{name}_gradients"]
        gradients = of_last_step[-1] if name == "discriminator" else of_last_step
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            assert p.grad is not None
            assert torch.equal(p.grad, gradient)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_each_network_has_its_own_clock(k: int) -> None:
    models = networks()
    models["generator"] = nn.Linear(LATENT, 4)  # no batch normalization: it refuses single rows
    optimizers = adams(models)
    steps: list[str] = []
    for name, optimizer in optimizers.items():
        optimizer.register_step_post_hook(lambda *_, name=name: steps.append(name))
    seen: list[Tensor] = []
    models["discriminator"].register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    trainer = adversarial_trainer(
        models, optimizers, device="cpu", latent=LATENT, discriminator_steps=k
    )
    data = batches([8, 3])
    trainer.run(data)
    assert steps == [*["discriminator"] * k, "generator"] * 2
    # Real and made in turn, then those of the generator's step.
    first = seen[: 2 * k + 1]
    assert torch.equal(torch.cat(first[0 : 2 * k : 2]), data[0][0])
    assert [len(x) for x in first[1 : 2 * k : 2]] == [len(x) for x in first[0 : 2 * k : 2]]
    assert len(first[-1]) == 8
    # A batch of fewer rows than steps goes round.
    real = seen[2 * k + 1 : -1 : 2]
    rows = data[1][0]
    assert len(real) == k
    assert set(map(tuple, torch.cat(real).tolist())) == set(map(tuple, rows.tolist()))


def test_logged_gradients_are_those_of_each_networks_own_loss() -> None:
    models, data = networks(), batches([8] * 4)
    twins = copy.deepcopy(models)
    torch.manual_seed(5)
    expected = list(by_hand(twins, data, 1, 1.0))
    optimizers = adams(models)
    trainer = adversarial_trainer(models, optimizers, device="cpu", latent=LATENT)
    writer = MemoryWriter()
    torch.manual_seed(5)
    with attach_monitors(
        trainer,
        model=models,
        optimizers=optimizers,
        writer=writer,
        predictions="binary_logits",
        every=1,
    ):
        trainer.run(data)
    for name in models:
        for tag in ("global_norm_raw", "global_norm"):
            logged = [value for _, value in writer.scalars[f"gradients/{name}/{tag}"]]
            norms = []
            for found in expected:
                gradients = found[f"{name}_gradients"]
                gradients = gradients[0] if name == "discriminator" else gradients
                norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
            assert logged == pytest.approx(norms, rel=1e-5)
    assert {"predictions/real", "predictions/fake", "loss/generator"} <= set(writer.scalars)


def test_each_network_is_clipped_by_its_own_norm() -> None:
    models = networks()
    optimizers = adams(models)
    limit = 0.05
    trainer = adversarial_trainer(
        models, optimizers, device="cpu", latent=LATENT, clip_grad_norm=limit
    )
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=models, optimizers=optimizers, writer=writer, predictions=None, every=1
    ):
        trainer.run(batches([8]))
    for name in models:
        found = {tag: writer.scalars[f"gradients/{name}/{tag}"][0][1]
                 for tag in ("global_norm_raw", "global_norm", "clipped")}  # fmt: skip
        assert found["global_norm_raw"] > limit
        assert found["global_norm"] == pytest.approx(limit, rel=1e-3)
        assert found["clipped"] == 1


def test_the_step_reads_nothing_from_the_device() -> None:
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func._schema.name
            if name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal"):
                Reads.count += 1
            return func(*args, **(kwargs or {}))

    models = networks()
    # SGD: torch's Adam on the CPU reads its own step count.
    sgds = {name: torch.optim.SGD(model.parameters(), lr=0.1) for name, model in models.items()}
    trainer = adversarial_trainer(models, sgds, device="cpu", latent=LATENT, discriminator_steps=2)
    evaluator = adversarial_evaluator(models, device="cpu", latent=LATENT)
    with Reads():
        torch.ones(1).item()
        assert Reads.count == 1  # it does count
        trainer.run(batches([8, 8]))
        evaluator.run(batches([8, 8]))
    assert Reads.count == 1


def test_evaluation_is_the_same_in_each_pass_and_disturbs_nothing() -> None:
    models, data = networks(), batches([8, 5])
    models["generator"].train()
    models["discriminator"].eval()
    before, random = weights(models), torch.get_rng_state()
    evaluator = adversarial_evaluator(models, device="cpu", latent=LATENT, seed=3)
    outputs: list[Any] = [evaluator.run(data).output for _ in range(2)]
    assert torch.equal(weights(models), before)  # no running statistics moved
    assert torch.equal(torch.get_rng_state(), random)
    assert models["generator"].training
    assert not models["discriminator"].training
    assert torch.equal(outputs[0]["y_pred"], outputs[1]["y_pred"])
    own = torch.Generator().manual_seed(3)
    latents = [torch.randn(n, LATENT, generator=own) for n in (8, 5)][1]
    for model in models.values():
        model.eval()
    on_real = models["discriminator"](data[1][0])
    on_fake = models["discriminator"](models["generator"](latents))
    expected = {
        "discriminator_real": bce(on_real, 1.0),
        "discriminator_fake": bce(on_fake, 0.0),
        "generator": bce(on_fake, 1.0),
    }
    for name, value in expected.items():
        torch.testing.assert_close(outputs[0]["losses"][name], value.detach())
    torch.testing.assert_close(outputs[0]["loss"], sum(expected.values()).detach())  # type: ignore[union-attr]


def test_samples_are_pictures_from_the_same_latent_vectors() -> None:
    torch.manual_seed(0)
    models: dict[str, nn.Module] = {
        "generator": DCGANGenerator(latent=LATENT, channels=[4, 4]),
        "discriminator": DCGANDiscriminator(channels=[4, 4]),
    }
    random = torch.get_rng_state()
    engines = adversarial_engines(
        models, adams(models), torch.device("cpu"), LATENT, shown=6, judged=4
    )
    before = weights(models)
    pictures: list[Any] = [engines.samples["samples"]() for _ in range(2)]
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(weights(models), before)
    assert models["generator"].training
    assert pictures[0].shape == (6, 1, 74, 74)  # nine times as large, framed
    assert float(pictures[0].min()) >= 0
    assert float(pictures[0].max()) <= 1
    latents = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(0))
    small = models["generator"].eval()(latents)
    torch.testing.assert_close(pictures[0][:, :, 1:-1:9, 1:-1:9], (small.detach() + 1) / 2)
    assert engines.metrics == {}  # no judge


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"models": {"model": nn.Identity()}}, TypeError, "two models, generator and discrim"),
        ({"optimizers": {}}, TypeError, "two optimizers, .* got none"),
        ({"latent": 0}, ValueError, "engine.latent must be 1 or more, got 0"),
        ({"discriminator_steps": 0}, ValueError, "discriminator_steps must be 1 or more, got 0"),
        ({"discriminator_steps": 1.5}, TypeError, "must be a whole number, got 1.5"),
        ({"real_target": 1.1}, ValueError, r"real_target must be in \(0, 1\], got 1.1"),
        ({"clip_grad_norm": 0.0}, ValueError, "clip_grad_norm must be greater than 0, got 0.0"),
        ({"loss_fn": nn.MSELoss()}, TypeError, "its own losses"),
        ({"judged": 0}, ValueError, "engine.judged must be 1 or more, got 0"),
        ({"shown": 0}, ValueError, "engine.shown must be 1 or more, got 0"),
    ],
)
def test_refuses(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    models = networks()
    arguments = {"models": models, "optimizers": adams(models), "latent": LATENT}
    with pytest.raises(error, match=message):
        adversarial_engines(device=torch.device("cpu"), **{**arguments, **changes})


def test_refuses_a_batch_without_images() -> None:
    models = networks()
    trainer = adversarial_trainer(models, adams(models), device="cpu", latent=LATENT)
    with pytest.raises(TypeError, match="must be a tensor of images"):
        trainer.run([{"x": torch.zeros(2, 4)}])


def small_run(directory: Path, monitor: MonitorSettings) -> RunResult:
    """A whole run of something like gan_digits, tiny."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(40, 1, 8, 8, generator=g) * 2 - 1, torch.arange(40) % 4
    judge = partial(Judge, classifier=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    return run(
        model={
            "generator": partial(DCGANGenerator, latent=LATENT, channels=[4, 4]),
            "discriminator": partial(DCGANDiscriminator, channels=[4, 4]),
        },
        data=Data(
            Batches(x[:24], y[:24], batch_size=8, shuffle=True),
            Batches(x[24:], y[24:], batch_size=8),
        ),
        optimizer={
            name: partial(torch.optim.Adam, lr=1e-3) for name in ("generator", "discriminator")
        },
        engine=partial(adversarial_engines, latent=LATENT, judge=judge, discriminator_steps=2),
        trainer=TrainerSettings(epochs=2, progress_bar=False),
        monitor=monitor,
        checkpoint=CheckpointSettings(best=False),
        directory=directory,
    )


def test_monitoring_changes_no_bit_and_shows_everything(tmp_path: Path) -> None:
    watched = small_run(tmp_path / "full", MonitorSettings(every=1, histograms_every=1))
    after = torch.get_rng_state()
    alone = small_run(
        tmp_path / "none",
        MonitorSettings(**dict.fromkeys(
            ("losses", "metrics", "gradients", "weights", "updates", "activations",
             "predictions", "hyperparameters", "throughput"), False)),
    )  # fmt: skip
    assert torch.equal(weights(dict(watched.models)), weights(dict(alone.models)))
    assert torch.equal(torch.get_rng_state(), after)
    assert watched.disabled == {}
    names = ("sample_confidence", "sample_classes", "sample_balance")
    assert all(watched.last["validation"][n] == alone.last["validation"][n] for n in names)
    events = EventAccumulator(str(tmp_path / "full/train"), {"images": 0, "scalars": 0}).Reload()
    scalars = set(events.Tags()["scalars"])
    for name in ("generator", "discriminator"):
        assert {
            f"gradients/{name}/global_norm_raw",
            f"weights/{name}/global_norm",
            f"updates/{name}/global_ratio",
            f"hyperparameters/{name}/lr",
        } <= scalars
        assert len(events.Scalars(f"gradients/{name}/global_norm_raw")) == 6
    parts = ["discriminator_real", "discriminator_fake", "generator"]
    for i, total in enumerate(events.Scalars("loss/total")):
        added = sum(events.Scalars(f"loss/{part}")[i].value for part in parts)
        assert total.value == pytest.approx(added, rel=1e-6)
    assert {"predictions/real", "predictions/fake", "predictions/entropy"} <= scalars
    pictures = [tag for tag in events.Tags()["images"] if tag.startswith("generated/samples")]
    assert len(pictures) == 1
    assert [picture.step for picture in events.Images(pictures[0])] == [3, 6]
    held_out = EventAccumulator(str(tmp_path / "full/validation")).Reload().Tags()["scalars"]
    assert {f"metrics/{name}" for name in names} | {"predictions/real"} <= set(held_out)
