"""Make iterations of a run once more, from a saved state, with nothing attached."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn

from trainkit.rundir import snapshot
from trainkit.tracing import StepReport, bits_of_loss, traced_step
from trainkit.training.build import Built
from trainkit.training.bundle import Bundle
from trainkit.training.state import restore, run_state, start_from

__all__ = ["NotFoundError", "first_non_finite", "repeated_step"]

# Seconds that a search may take.
_PATIENCE = 120.0


class NotFoundError(RuntimeError):
    """Everything was finite when the iterations were made once more."""


class _FoundError(Exception):
    """Ends the search; carries the iteration."""

    def __init__(self, iteration: int) -> None:
        super().__init__(iteration)
        self.iteration = iteration


def first_non_finite(
    built: Built, state: Mapping[str, Any], until: int, config: str = ""
) -> tuple[Bundle, StepReport]:
    """Find the first iteration behind a state that is not finite, and what produced it.

    The iterations are made once more, and each is looked at; then once more up to the one that
    was found, which is traced. Nothing is read in the training itself for that.

    Args:
        built: What took part; it is left at the iteration that was found.
        state: Of a checkpoint, all finite.
        until: The last iteration to look at.
        config: Of the run.

    Returns:
        The step with all it needs, and the report.

    Raises:
        NotFoundError: All of it was finite this time.
    """
    found = _search(built, state, until)
    kept: dict[str, Any] = {}

    def trace(engine: Engine, batch: Any, step: Callable[[], Any]) -> Any:
        if engine.state.iteration < found:
            return step()
        before = snapshot(run_state(built, state["run"]))
        before |= {"iteration": found - 1, "epoch": state["epoch"]}
        kept["bundle"] = Bundle(before, snapshot(batch), config, {})
        report = _traced(built, engine, batch, step)
        kept["report"] = report
        raise _FoundError(found)

    with suppress(_FoundError):
        _repeat(built, state, found, trace)
    if "report" not in kept or kept["report"].first is None:
        raise NotFoundError(f"iteration {found} is finite when it is made once more")
    return kept["bundle"], kept["report"]


def repeated_step(built: Built, bundle: Bundle) -> tuple[str, StepReport]:
    """Make the step of a bundle twice: as it was, and traced.

    Args:
        built: From the config of the bundle.
        bundle: Of the step.

    Returns:
        The bits of the loss of the plain step, and the report.
    """
    bits = ""
    report = None
    for traced in (False, True):
        restore(built, snapshot(bundle.state))
        engine = _copy_of(built, bundle.state)
        engine.state.iteration += 1
        batch = bundle.batch  # engines move what they take themselves
        engine.state.batch = batch
        start_from(bundle.state)

        def step(engine: Engine = engine, batch: Any = batch) -> Any:
            return _process(built)(engine, batch)

        if traced:
            report = _traced(built, engine, batch, step)
        else:
            bits = bits_of_loss(step())
    assert report is not None  # noqa: S101
    return bits, report


def _search(built: Built, state: Mapping[str, Any], until: int) -> int:
    scaled = getattr(built.engines.trainer.state, "scaler", None) is not None

    begun = monotonic()

    def look(engine: Engine, batch: Any, step: Callable[[], Any]) -> Any:
        output = step()
        if monotonic() - begun > _PATIENCE:
            raise NotFoundError(f"it takes longer than {_PATIENCE:.0f} s")
        if not _all_finite(built, output, gradients=not scaled):
            raise _FoundError(engine.state.iteration)
        return output

    try:
        _repeat(built, state, until, look)
    except _FoundError as found:
        return found.iteration
    raise NotFoundError(
        f"iterations {state['iteration'] + 1} to {until} are finite when they are made once more"
    )


def _all_finite(built: Built, output: Any, *, gradients: bool) -> bool:
    loss = output.get("loss") if isinstance(output, Mapping) else output
    tensors = [loss] if isinstance(loss, Tensor) else []
    modules = [*built.models.values()]
    if isinstance(built.loss_fn, nn.Module):
        modules.append(built.loss_fn)
    for module in modules:
        for parameter in module.parameters():
            tensors.append(parameter.detach())
            if gradients and parameter.grad is not None:
                tensors.append(parameter.grad)
    return all(bool(_values(tensor).isfinite().all()) for tensor in tensors)


def _values(tensor: Tensor) -> Tensor:
    return tensor.coalesce().values() if tensor.is_sparse else tensor


def _traced(built: Built, engine: Engine, batch: Any, step: Callable[[], Any]) -> StepReport:
    return traced_step(
        step,
        models=built.models,
        loss_fn=built.loss_fn,
        optimizers=built.optimizers,
        batch=batch,
        iteration=engine.state.iteration,
        scaled=getattr(built.engines.trainer.state, "scaler", None) is not None,
    )


def _process(built: Built) -> Callable[[Engine, Any], Any]:
    function: Callable[[Engine, Any], Any] = built.engines.trainer._process_function
    return function


def _copy_of(built: Built, state: Mapping[str, Any], until: int | None = None) -> Engine:
    """An engine of the same process function with no handlers, at the iteration of a state."""
    trainer = built.engines.trainer
    engine = Engine(lambda engine, batch: None)
    for name, value in vars(trainer.state).items():
        if not hasattr(engine.state, name):  # a loss scaler, and whatever else an engine keeps
            setattr(engine.state, name, value)
    engine.load_state_dict(
        {
            "iteration": state["iteration"],
            "epoch_length": state["epoch_length"],
            # An accumulation ends with the run: so the run must have its own length here too.
            "max_iters": max(built.iterations, until or 0),
        }
    )
    return engine


def _repeat(
    built: Built,
    state: Mapping[str, Any],
    until: int,
    look: Callable[[Engine, Any, Callable[[], Any]], Any],
) -> None:
    """Make the iterations behind a state, up to one, with their schedules."""
    restore(built, snapshot(state))  # optimizers take the tensors as they are, and change them
    engine = _copy_of(built, state, until)
    process = _process(built)
    engine._process_function = lambda engine, batch: look(
        engine, batch, lambda: process(engine, batch)
    )
    stepped: set[str] = set()
    hooks = [
        built.optimizers[name].register_step_post_hook(lambda *_, name=name: stepped.add(name))
        for name in built.schedules
    ]

    def after_iteration(engine: Engine) -> None:
        while stepped:
            built.schedules[stepped.pop()].after_iteration()
        if engine.state.iteration >= until:
            engine.terminate()

    def after_epoch(engine: Engine) -> None:
        for schedule in built.schedules.values():
            schedule.after_epoch()

    engine.add_event_handler(Events.ITERATION_COMPLETED, after_iteration)
    engine.add_event_handler(Events.EPOCH_COMPLETED, after_epoch)
    engine.logger.disabled = True  # the end of a search is no error
    start_from(state)
    try:
        engine.run(built.source, max_iters=engine.state.max_iters,
                   epoch_length=state["epoch_length"])  # fmt: skip
    finally:
        for hook in hooks:
            hook.remove()
