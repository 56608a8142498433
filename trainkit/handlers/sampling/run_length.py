"""How long a training will be, as far as its engine says."""

from ignite.engine import Engine

__all__ = ["last_iteration"]


def last_iteration(engine: Engine) -> int | None:
    """The iteration with which `engine` will end, unless it is stopped before; None: unknown.

    Args:
        engine: Known once it runs, and its data, or `epoch_length`, tell how long an epoch is.

    Example:
        >>> found = []
        >>> engine = Engine(lambda engine, batch: found.append(last_iteration(engine)))
        >>> _ = engine.run([0] * 5, max_epochs=2)
        >>> found[0]
        10
    """
    state = engine.state
    limits: list[int] = []
    if state.max_iters:
        limits.append(state.max_iters)
    if state.max_epochs and state.epoch_length:
        limits.append(state.max_epochs * state.epoch_length)
    return min(limits) if limits else None
