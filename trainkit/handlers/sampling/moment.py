"""The moments at which a monitor may measure."""

from enum import Enum

__all__ = ["AT_STEPS", "Moment"]


class Moment(Enum):
    """When a monitor is called, and with which arguments.

    A monitor returns a mapping from moment to function from `Monitor.moments`; nothing else of it
    is called. Unless said otherwise a moment comes in sampled iterations only.

    Around the process function of the engine:
        `ITERATION_STARTED(engine)`: just before it.
        `PROCESS_LEFT()`: just after it, also when it raised: remove hooks here.
        `ITERATION_COMPLETED(engine)`: the iteration is complete; `engine.state.output` is there.
        `NON_FINITE_LOSS(engine)`: the iteration is complete, was not sampled, and its loss is not
        finite. Only monitors whose cadence has an `alarm` (a `Budget`) are called.
        `CANCELLED()`: the iteration was left by an exception, or the monitor is taken off: forget
        what was begun. It may come at any time and more than once.

    At the optimizers' steps, for each of `Monitor.optimizers`, with the key of the optimizer:
        `AFTER_BACKWARD(key, optimizer)`: a backward pass has ended; all its gradients are there.
        `BEFORE_STEP(key, optimizer, closure)`: with a closure gradients are made within the step.
        `BEFORE_INNER_STEP(key, optimizer, closure)`: the step of a subclass has called
        `super().step()`.
        `AFTER_STEP(key, optimizer, closure)`: the weights are updated.
        `STEP_SKIPPED(key)`: the loss scaler skipped the step.
        `STEP_DROPPED(key)`: no step is waited for any more: free what was kept for it.

    In every iteration, sampled or not (keep these below a microsecond):
        `EVERY_ITERATION_STARTED(engine)`: just before the process function.
        `EVERY_PROCESS_LEFT(engine, returned)`: just after it; `returned` is False if it raised.
        `EVERY_ITERATION_COMPLETED(engine)`: may return the loss, if it was read on the host.
        `RUN_COMPLETED(engine)`: the run is complete, or the monitor is taken off.

    On an evaluator (a monitor with a `trainer`):
        `PASS_STARTED(engine)`, `PASS_ITERATION(engine)`, `PASS_COMPLETED(engine)`: at the start of
        each pass over a data set, after each of its batches, and at its end.

    Example:
        >>> from trainkit import Moment
        >>> Moment.AFTER_STEP.name
        'AFTER_STEP'
    """

    ITERATION_STARTED = "ITERATION_STARTED"
    PROCESS_LEFT = "PROCESS_LEFT"
    ITERATION_COMPLETED = "ITERATION_COMPLETED"
    NON_FINITE_LOSS = "NON_FINITE_LOSS"
    CANCELLED = "CANCELLED"

    AFTER_BACKWARD = "AFTER_BACKWARD"
    BEFORE_STEP = "BEFORE_STEP"
    BEFORE_INNER_STEP = "BEFORE_INNER_STEP"
    AFTER_STEP = "AFTER_STEP"
    STEP_SKIPPED = "STEP_SKIPPED"
    STEP_DROPPED = "STEP_DROPPED"

    EVERY_ITERATION_STARTED = "EVERY_ITERATION_STARTED"
    EVERY_PROCESS_LEFT = "EVERY_PROCESS_LEFT"
    EVERY_ITERATION_COMPLETED = "EVERY_ITERATION_COMPLETED"
    RUN_COMPLETED = "RUN_COMPLETED"

    PASS_STARTED = "PASS_STARTED"  # noqa: S105
    PASS_ITERATION = "PASS_ITERATION"  # noqa: S105
    PASS_COMPLETED = "PASS_COMPLETED"  # noqa: S105


#: For these, hooks on the optimizers are needed.
AT_STEPS = frozenset(
    {
        Moment.AFTER_BACKWARD,
        Moment.BEFORE_STEP,
        Moment.BEFORE_INNER_STEP,
        Moment.AFTER_STEP,
        Moment.STEP_SKIPPED,
        Moment.STEP_DROPPED,
    }
)
