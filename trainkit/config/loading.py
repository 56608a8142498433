"""Read a run back from its folder, also while it is running."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf, nan
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from trainkit.fill_partials import complete, named_parameters_of
from trainkit.rundir import (
    RunDirectory,
    load_checkpoint,
    preserved_random_state,
    read_history,
    read_status,
    seed_everything,
)

__all__ = ["LoadedRun", "load_run"]

_NUMBERS = {"nan": nan, "inf": inf, "-inf": -inf}


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """What `load_run` found.

    Args:
        directory: Of the run.
        config: As it was composed and resolved; empty for a run made from Python objects.
        overrides: Those of its command line.
        status: The content of `run.json`: `status`, `reason`, `iteration`, ...
        history: A row per evaluation: column → value; `pandas.DataFrame(run.history)` takes it.

    Example:
        >>> from pathlib import Path
        >>> run = LoadedRun(Path("runs/mine"), {}, [], {"status": "completed"}, [{"iteration": 4}])
        >>> run.status["status"], run.history[-1]["iteration"]
        ('completed', 4)
    """

    directory: Path
    config: Mapping[str, Any]
    overrides: list[str]
    status: Mapping[str, Any]
    history: list[dict[str, float | None]]
    _given: Any = field(default=None)
    _weights: str = field(default="best")

    @property
    def last(self) -> dict[str, dict[str, float]]:
        """Values of the last evaluation: part of the data → name → value."""
        return {part: _numbers(values) for part, values in self.status.get("last", {}).items()}

    @property
    def best(self) -> dict[str, dict[str, float]]:
        """Values of the evaluation that was best, in the same form."""
        values = self.status.get("best", {}).get("values", {})
        return {part: _numbers(numbers) for part, numbers in values.items()}

    @property
    def test(self) -> dict[str, float]:
        """Values on the test data."""
        return _numbers(self.status.get("test", {}))

    @property
    def checkpoint(self) -> Path:
        """The file that the weights come from: `best.pt`, or `last.pt` if that is not there.

        Raises:
            FileNotFoundError: There is neither.
        """
        folder = RunDirectory(self.directory).checkpoints
        for name in dict.fromkeys((self._weights, "last")):
            if (folder / f"{name}.pt").exists():
                return folder / f"{name}.pt"
        raise FileNotFoundError(f"{folder} holds no checkpoint: neither best.pt nor last.pt")

    @property
    def model(self) -> nn.Module:
        """The model with its weights, in main memory, in evaluation mode.

        Raises:
            ValueError: The run has several: see `models`.
        """
        if len(self.models) != 1:
            raise ValueError(f"the run has several models, use .models: {', '.join(self.models)}")
        return next(iter(self.models.values()))

    @cached_property
    def models(self) -> dict[str, nn.Module]:
        """Name → model with its weights, in main memory, in evaluation mode.

        The model is built from the config (its data too, if it needs them), or is the one that
        was given. No code in the checkpoint is executed; the config names classes, and these are.
        """
        states = load_checkpoint(self.checkpoint)["models"]
        with preserved_random_state():
            models = self._built()
        if set(models) != set(states):
            raise ValueError(
                f"{self.checkpoint} holds the models {', '.join(states)}, got {', '.join(models)}"
            )
        for name, module in models.items():
            try:
                module.load_state_dict(states[name])
            except RuntimeError as error:
                raise ValueError(f"{self.checkpoint} does not fit the model: {error}") from error
            module.eval()
        return models

    def _built(self) -> dict[str, nn.Module]:
        if self._given is not None:
            given = self._given
            return dict(given) if isinstance(given, Mapping) else {"model": given}
        node = self.config.get("model")
        if node is None:
            raise ValueError(
                f"{self.directory} has no config to build a model from; give one: "
                "load_run(directory, model=...)"
            )
        from hydra.utils import instantiate

        seed_everything(int(self.config.get("trainer", {}).get("seed", 0)))
        known: dict[str, Any] = {"device": "cpu", "seed": 0}
        made = instantiate(node, _convert_="all")
        parts = {"model": made} if not isinstance(made, Mapping) else made
        if any(_needs_data(part) for part in parts.values()):
            data = instantiate(self.config["data"], _convert_="all")
            known["data"] = complete(data, known, "data")
            known["iterations_per_epoch"] = len(known["data"].train)
            known["iterations"] = int(self.status.get("iterations", 1))
        return {name: complete(part, known, "model") for name, part in parts.items()}

    def __repr__(self) -> str:
        status, iteration = self.status.get("status"), self.status.get("iteration")
        losses = [f"{p} loss={v['loss']:.4g}" for p, v in self.last.items() if "loss" in v]
        facts = ", ".join([f"{status} at iteration {iteration}", *losses])
        return f"LoadedRun({facts}, {str(self.directory)!r})"


def load_run(directory: Path | str, *, model: Any = None, weights: str = "best") -> LoadedRun:
    """Read a run back: its config, status, values, and its model with the best weights.

    Args:
        directory: Of the run.
        model: To put the weights into, or several by name; needed for a run that was made from
            Python objects. By default it is built from the run's config.
        weights: `best` or `last`.

    Raises:
        FileNotFoundError: There is no run.
        ValueError: `weights` is something else.

    Cost: reads small files; the model is built and loaded when it is first asked for.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from trainkit import Batches, Data, TrainerSettings, load_run, run
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> data = Data(Batches(x, 2 * x, batch_size=16), Batches(x, 2 * x, batch_size=16))
        >>> model = torch.nn.Linear(1, 1)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     result = run(
        ...         model=model,
        ...         data=data,
        ...         loss=torch.nn.MSELoss(),
        ...         optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        ...         trainer=TrainerSettings(epochs=2, device="cpu", progress_bar=False),
        ...         directory=f"{directory}/mine",
        ...     )
        ...     loaded = load_run(f"{directory}/mine", model=torch.nn.Linear(1, 1))
        ...     trained = loaded.model
        folder ...
        next ... board ...
        >>> loaded.status["status"], [row["iteration"] for row in loaded.history]
        ('completed', [4, 8])
        >>> torch.equal(trained.weight, model.weight)  # the last weights are the best
        True
    """
    if weights not in ("best", "last"):
        raise ValueError(f"weights must be best or last, got {weights!r}")
    place = RunDirectory(directory)
    if not place.status.exists():
        raise FileNotFoundError(f"there is no run in {place.path}: it has no run.json")
    config, overrides = place.path / "config.yaml", place.path / "overrides.txt"
    return LoadedRun(
        directory=place.path,
        config=yaml.safe_load(config.read_text(encoding="utf-8")) if config.exists() else {},
        overrides=overrides.read_text(encoding="utf-8").split("\n")[:-1]
        if overrides.exists()
        else [],
        status=read_status(place.status),
        history=read_history(place.history) if place.history.exists() else [],
        _given=model,
        _weights=weights,
    )


def _needs_data(part: Any) -> bool:
    if not isinstance(part, partial):
        return False
    waiting = [name for name, required in named_parameters_of(part).items() if required]
    return bool(set(waiting) & {"data", "iterations", "iterations_per_epoch"})


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """JSON has no NaN: there it is a string."""
    return {name: _NUMBERS.get(value, value) for name, value in values.items()}
