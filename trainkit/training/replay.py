"""Make the step of a bundle again, from plain objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.rundir import seed_everything
from trainkit.settings import TrainerSettings
from trainkit.tracing import StepReport
from trainkit.training.build import build
from trainkit.training.bundle import read_bundle
from trainkit.training.device import deterministic_algorithms, device_of
from trainkit.training.dry_run import rehearse
from trainkit.training.repeat import repeated_step

__all__ = ["Replay", "replay"]


@dataclass(frozen=True)
class Replay:
    """What came of a step that was made again.

    Args:
        iteration: Of the trainer.
        reproduced: The loss is the same as in the run, bit by bit.
        report: What produced the first value that is not finite, and the chain of modules.
    """

    iteration: int
    reproduced: bool
    report: StepReport


def replay(
    bundle: Path | str,
    *,
    model: Any,
    data: Any,
    optimizer: Any,
    loss: Any = None,
    scheduler: Any = None,
    engine: Any = None,
    trainer: TrainerSettings | None = None,
    **others: Any,
) -> Replay:
    """Make the step again in which the first value of a run was not finite.

    Args:
        bundle: `non_finite/bundle.pt` of the run; no code in it is executed.
        model: As it was given to `run`, like all that follows.
        data: Batches; the step takes its batch from the bundle.
        optimizer: Of the run.
        loss: Of the run.
        scheduler: Of the run.
        engine: Of the run.
        trainer: Of the run; another `device` may be given.
        **others: What else was given to `run`: it plays no part in the step.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or no bundle, or the parts are not those of the run.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from trainkit import Batches, Data, TrainerSettings, run
        >>> from trainkit.training import NonFiniteLossError, replay
        >>> class Root(torch.nn.Linear):
        ...     def forward(self, x):
        ...         return super().forward(x).sqrt()
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> def parts():
        ...     torch.manual_seed(0)
        ...     model = Root(1, 1)
        ...     return {
        ...         "model": model,
        ...         "data": Data(Batches(x, 2 * x, batch_size=16)),
        ...         "loss": torch.nn.MSELoss(),
        ...         "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
        ...         "trainer": TrainerSettings(epochs=10, device="cpu", progress_bar=False),
        ...     }
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     try:
        ...         result = run(directory=f"{directory}/mine", **parts())
        ...     except NonFiniteLossError:
        ...         found = replay(f"{directory}/mine/non_finite/bundle.pt", **parts())
        folder ...
        >>> found.reproduced, found.report.first.place, found.report.first.operation
        (True, 'Root', 'aten.sqrt')
    """
    del others
    content = read_bundle(Path(bundle))
    settings = trainer or TrainerSettings()
    with deterministic_algorithms(settings.deterministic):
        seed_everything(settings.seed)
        built = build(
            model=model,
            data=data,
            loss=loss,
            optimizer=optimizer,
            scheduler=scheduler,
            metrics=None,
            engine=engine,
            samples=None,
            settings=settings,
            device=device_of(settings.device),
        )
        rehearse(built, {})  # modules that wait for their first batch get their shapes
        bits, report = repeated_step(built, content)
    return Replay(report.iteration, bits == content.report["loss"], report)
