"""What statistics of parameters cost by themselves: torch's launches, NumPy's loops, numba's.

python benchmarks/loops.py

For the tensors of the two programs of `monitoring.py`, in main memory: milliseconds of the
fastest of many calls, in a loop of their own. numba is measured where it is installed
(`pip install trainkit[fast]`).
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch
from programs import mlp, transformer
from torch import Tensor

from trainkit.stats.cpu.loops import Loops, loops, numpy_loops, sizes_of

CALLS = 30


def fastest(function: Callable[[], object]) -> float:
    """Seconds."""
    found = []
    for _ in range(CALLS):
        start = perf_counter()
        function()
        found.append(perf_counter() - start)
    return min(found)


def by_torch(tensors: Sequence[Tensor]) -> dict[str, float]:
    """The same numbers with torch's own functions, the fastest way that it has."""
    plain = [tensor.detach() for tensor in tensors]
    copies = [tensor + 1e-3 for tensor in plain]

    def summary() -> None:
        torch._foreach_norm(plain)
        for tensor in plain:
            torch.std_mean(tensor)
            tensor.aminmax()
            tensor.count_nonzero()
            tensor.isfinite().all()

    return {
        "norm": fastest(lambda: torch._foreach_norm(plain)),
        "norm, mean, std, max, zeros, non-finite": fastest(summary),
        "distance to a copy": fastest(
            lambda: torch._foreach_norm(torch._foreach_sub(plain, copies))
        ),
        "histogram": fastest(lambda: [torch.histc(tensor, 64) for tensor in plain]),
    }


def by_loops(chosen: Loops, tensors: Sequence[Tensor]) -> dict[str, float]:
    plain = [tensor.detach() for tensor in tensors]
    sizes = sizes_of(plain)
    flat = chosen.copy_rows([tensor + 1e-3 for tensor in plain], sizes)
    calls: dict[str, Callable[[], Any]] = {
        "norm": lambda: chosen.norm_rows(plain, sizes),
        "norm, mean, std, max, zeros, non-finite": lambda: chosen.summary_rows(plain, sizes),
        "distance to a copy": lambda: chosen.distance_rows(flat, plain, sizes),
        "histogram": lambda: chosen.histogram_rows(plain, sizes, 64),
    }
    return {name: fastest(call) for name, call in calls.items()}


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for program in (mlp(1), transformer(1)):
        tensors = list(program.model.parameters())
        columns = {"torch": by_torch(tensors), "NumPy": by_loops(numpy_loops(), tensors)}
        if loops() != numpy_loops():
            columns["numba"] = by_loops(loops(), tensors)
        title = f"{program.name}, {sum(map(Tensor.numel, tensors)):,} elements"
        print(f"\n{title:45s}" + "".join(f"{name:>12s}" for name in columns) + "  NumPy / numba")
        for name in columns["torch"]:
            cells = "".join(f"{1e3 * column[name]:9.3f} ms" for column in columns.values())
            ratio = columns["NumPy"][name] / columns.get("numba", columns["NumPy"])[name]
            print(f"{name:45s}{cells}  {ratio:8.1f} x")


if __name__ == "__main__":
    main()
