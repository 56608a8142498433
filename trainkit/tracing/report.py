"""What a traced step has shown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trainkit.tracing.origin import Origin

__all__ = ["ModuleCall", "StepReport"]

_SHOWN = 30


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module: the extremes of what it returned, or of the gradient of that.

    Args:
        phase: `forward` or `backward`.
        place: The name of the module.
        kind: Its class.
        shape: Of the tensor.
        least: Least finite element; None: there is none.
        most: Greatest finite element.
        bad: Elements that are not finite.
    """

    phase: str
    place: str
    kind: str
    shape: tuple[int, ...]
    least: float | None
    most: float | None
    bad: int

    def __str__(self) -> str:
        extremes = "no finite element"
        if self.least is not None:
            extremes = f"{self.least:.4g} to {self.most:.4g}"
        bad = f", {self.bad} not finite" if self.bad else ""
        name = f"{self.place} ({self.kind})" if self.kind else self.place
        return f"{self.phase:<9} {name}  {list(self.shape)}  {extremes}{bad}"


@dataclass(frozen=True)
class StepReport:
    """What produced the first value that is not finite in one step.

    Args:
        iteration: Of the trainer.
        first: The producer; None: everything that counts was finite.
        found_in: Where it arrived: `loss`, the gradient or the weights of a parameter.
        calls: Of modules, in their order.
        loss: Its bits, as a hexadecimal number, to compare a replay with.
    """

    iteration: int
    first: Origin | None
    found_in: str = ""
    calls: Sequence[ModuleCall] = field(default_factory=tuple)
    loss: str = ""

    def line(self) -> str:
        """One line for the summary of a run."""
        if self.first is None:
            return f"nothing is produced in iteration {self.iteration} that is not finite"
        return f"iteration {self.iteration}: {self.first}; it reached {self.found_in}"

    def lines(self) -> list[str]:
        """The line, and the chain of modules around the producer."""
        shown = list(self.calls)
        bad = [i for i, call in enumerate(shown) if call.bad]
        begin = max(0, (bad[0] if bad else 0) - _SHOWN // 2)
        rest = shown[begin : begin + _SHOWN]
        return [self.line(), *(f"  {call}" for call in rest)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)
