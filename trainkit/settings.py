"""What a run can be told about its loop, its monitoring and its checkpoints.

Plain dataclasses: `run` takes them, and `trainkit.config` uses the very same classes as the schema
of the groups `trainer`, `monitor` and `checkpoint`. Importing this module loads nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CheckpointSettings", "MonitorSettings", "SweepSettings", "TrainerSettings"]


def _whole(key: str, value: int | None, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{key} must be {least} or more, got {value}")


def _above_zero(key: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{key} must be greater than 0, got {value}")


def _one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"{key} must be one of {', '.join(options)}, got {value!r}")


@dataclass(frozen=True)
class TrainerSettings:
    """The training loop; `epochs` or `max_iterations`, whichever comes first, ends the run.

    Args:
        epochs: Passes over the training data.
        max_iterations: Iterations in all.
        epoch_length: Iterations of an epoch; None: one pass over the training data. Data without
            a length need it. Passes go on across epochs, and start again where the data end.
        device: `auto` (an accelerator if there is one), `cpu`, `cuda:0`, ...
        seed: Of Python's, NumPy's and torch's random numbers.
        clip_grad_norm: The global gradient norm is clipped to this before the optimizer's step.
        clip_grad_value: Every gradient element is clipped to plus or minus this.
        accumulation_steps: Micro-batches per optimizer step.
        amp: Mixed precision: `off`, `bf16`, `fp16` (with loss scaling).
        deterministic: Only deterministic algorithms, at their cost in speed.
        compile: Run the model through `torch.compile`.
        evaluate_every: In iterations; None evaluates after every epoch.
        evaluate_train: Evaluate on the training data too, where validation is evaluated.
        progress_bar: Show one, where standard error is a terminal.
        on_non_finite: When the loss is NaN or infinite, which is always said: `weights` goes on
            until the weights are not finite either, from which nothing recovers, and then ends the
            run as failed; `stop` ends it at once; `warn` goes on; `skip` leaves out every optimizer
            step with gradients that are not finite, for which it reads the device in each step.
        max_minutes: The training ends after so many, over all parts of a resumed run.
        resume: `auto`: where the folder holds a run, that goes on, as a job that is put back into
            a queue needs it; `never`: such a folder is refused.
        processes: Train in so many processes on this machine, each with its share of the data.
            torchrun and srun start them themselves.
        backend: Of torch.distributed: `gloo`, `nccl`, `mpi`, `ucc` or `xccl`; None: `nccl` on
            CUDA devices, else `gloo`.
        sync_batchnorm: Batch normalization over the batches of all processes.
        timeout_minutes: A collective of the processes that takes longer fails, and ends the run.

    Example:
        >>> TrainerSettings(epochs=5, clip_grad_norm=1.0, amp="bf16").accumulation_steps
        1
    """

    epochs: int | None = 20
    max_iterations: int | None = None
    epoch_length: int | None = None
    device: str = "auto"
    seed: int = 0
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    accumulation_steps: int = 1
    amp: str = "off"
    deterministic: bool = False
    compile: bool = False
    evaluate_every: int | None = None
    evaluate_train: bool = True
    progress_bar: bool = True
    on_non_finite: str = "weights"
    max_minutes: float | None = None
    resume: str = "never"
    processes: int = 1
    backend: str | None = None
    sync_batchnorm: bool = False
    timeout_minutes: float = 10.0

    def __post_init__(self) -> None:
        if self.epochs is None and self.max_iterations is None:
            raise ValueError("trainer.epochs or trainer.max_iterations must say when to stop")
        _whole("trainer.epochs", self.epochs, 1)
        _whole("trainer.max_iterations", self.max_iterations, 1)
        _whole("trainer.epoch_length", self.epoch_length, 1)
        _whole("trainer.seed", self.seed, 0)
        if self.seed >= 2**63:  # torch's generators take no more
            raise ValueError(f"trainer.seed must be below 2**63, got {self.seed}")
        _above_zero("trainer.clip_grad_norm", self.clip_grad_norm)
        _above_zero("trainer.clip_grad_value", self.clip_grad_value)
        _whole("trainer.accumulation_steps", self.accumulation_steps, 1)
        _one_of("trainer.amp", self.amp, ("off", "bf16", "fp16"))
        _whole("trainer.evaluate_every", self.evaluate_every, 1)
        _one_of("trainer.on_non_finite", self.on_non_finite, ("weights", "stop", "warn", "skip"))
        _above_zero("trainer.max_minutes", self.max_minutes)
        _one_of("trainer.resume", self.resume, ("never", "auto"))
        _whole("trainer.processes", self.processes, 1)
        if self.backend is not None:
            _one_of("trainer.backend", self.backend, ("gloo", "nccl", "mpi", "ucc", "xccl"))
        _above_zero("trainer.timeout_minutes", self.timeout_minutes)


_PREDICTIONS = (
    "logits", "probabilities", "log_probabilities", "binary_logits", "binary_probabilities",
    "values",
)  # fmt: skip

# Switch → the parts that it switches off.
_SWITCHES = {
    "losses": ("losses",),
    "metrics": ("metrics",),
    "gradients": ("gradients",),
    "weights": ("weights",),
    "updates": ("updates",),
    "activations": ("activations",),
    "predictions": ("predictions", "calibration", "pictures"),
    "pictures": ("pictures",),
    "hyperparameters": ("hyperparameters",),
    "throughput": ("throughput", "memory"),
}


@dataclass(frozen=True)
class MonitorSettings:
    """What is watched, how often, and at what cost.

    Args:
        every: In iterations, or `auto`: as often as the budget allows.
        budget: Share of the training time that monitoring may take, with `every: auto`.
        detail: `global`, `module`, `parameter`, or `auto`: per parameter while that is readable.
        losses: The total and each component.
        metrics: Of the training, validation and test data.
        gradients: Their norms before and after clipping, and their statistics.
        weights: Their statistics.
        updates: The size of each step relative to the weights.
        activations: Statistics of module outputs.
        predictions: Entropy and confidence of classes, or raw values in regression. `true` or
            `auto` asks the loss which; for a loss that does not tell: `logits`, `probabilities`,
            `log_probabilities`, `binary_logits`, `binary_probabilities` or `values`.
        pictures: Of what is predicted, at some evaluations: confusion matrix, precision-recall and
            ROC curves, predicted against true, the most wrong samples.
        hyperparameters: Learning rate and every other number in a parameter group.
        throughput: Speed and memory.
        histograms_every: Histograms of gradients, weights and predictions, in iterations;
            None writes none.
        graph: The graph of the model, for TensorBoard's page GRAPHS.
        projector: What the last layer gets of validation samples, for TensorBoard's PROJECTOR.
        include: Only parameters and modules whose names match one of these patterns.
        exclude: None whose name matches one of these.
        parts: Monitors by name: one's own beside the checklist, or in the place of one of it;
            null or false takes one away.

    Example:
        >>> MonitorSettings(every=100, detail="module", histograms_every=1000).budget
        0.02
    """

    every: Any = "auto"
    budget: float = 0.02
    detail: str = "auto"
    losses: bool = True
    metrics: bool = True
    gradients: bool = True
    weights: bool = True
    updates: bool = True
    activations: bool = True
    predictions: Any = True
    pictures: bool = True
    hyperparameters: bool = True
    throughput: bool = True
    histograms_every: int | None = None
    graph: bool = False
    projector: bool = False
    include: list[str] = field(default_factory=lambda: ["*"])
    exclude: list[str] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.every != "auto":
            if isinstance(self.every, bool) or not isinstance(self.every, int):
                raise TypeError(
                    f"monitor.every must be a whole number of iterations or auto, "
                    f"got {self.every!r}"
                )
            _whole("monitor.every", self.every, 1)
        if not 0 < self.budget <= 1:
            raise ValueError(
                f"monitor.budget must be a share of the training time in (0, 1], got {self.budget}"
            )
        if not isinstance(self.predictions, bool):
            _one_of("monitor.predictions", self.predictions, ("auto", *_PREDICTIONS))
        _one_of("monitor.detail", self.detail, ("auto", "global", "module", "parameter"))
        _whole("monitor.histograms_every", self.histograms_every, 1)
        if not isinstance(self.parts, Mapping):
            raise TypeError(
                "monitor.parts must be a mapping from name to monitor, "
                f"got {type(self.parts).__name__}"
            )

    @property
    def monitors(self) -> dict[str, Any]:
        """The parts, and None for each that is switched off."""
        off = [
            part
            for switch, parts in _SWITCHES.items()
            if not getattr(self, switch)
            for part in parts
        ]
        return {**self.parts, **dict.fromkeys(off)}


@dataclass(frozen=True)
class CheckpointSettings:
    """Which states of a run are kept.

    Args:
        last: Keep the newest state, written after every evaluation and on an interrupt; and as
            `previous` the one before it.
        best: Keep the state with the best value of `metric`.
        keep_best: Keep so many of the best states.
        every: Save the last state every so many iterations, too.
        every_minutes: Save it when so many have passed since it was last saved, too.
        metric: A validation metric by name, or `loss`.
        mode: `min` or `max`: which is better; `auto`: min for the loss and errors, else max.

    Example:
        >>> CheckpointSettings(metric="accuracy", mode="max").best
        True
    """

    last: bool = True
    best: bool = True
    keep_best: int = 1
    every: int | None = None
    every_minutes: float | None = 10.0
    metric: str = "loss"
    mode: str = "auto"

    def __post_init__(self) -> None:
        _one_of("checkpoint.mode", self.mode, ("auto", "min", "max"))
        _whole("checkpoint.keep_best", self.keep_best, 1)
        _whole("checkpoint.every", self.every, 1)
        _above_zero("checkpoint.every_minutes", self.every_minutes)


@dataclass(frozen=True)
class SweepSettings:
    """What a sweep (`trainkit run --multirun`) does.

    Args:
        on_failure: When one of its jobs fails, `continue` with the others or `stop`.
    """

    on_failure: str = "continue"

    def __post_init__(self) -> None:
        _one_of("sweep.on_failure", self.on_failure, ("continue", "stop"))
