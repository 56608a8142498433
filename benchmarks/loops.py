"""Time the statistics of tensors in main memory: torch, numba, and NumPy's histograms.

python benchmarks/loops.py

For the parameters of the two programs of `monitoring.py`: milliseconds of the fastest of many
calls. numba is measured where it is installed (`pip install trainkit[fast]`).
"""

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from programs import mlp, transformer
from torch import Tensor

from trainkit.stats import Snapshot, histograms, norms, summary_table
from trainkit.stats.cpu.loops import Loops, loops, using, without_numba
from trainkit.stats.cpu.sizes import sizes_of
from trainkit.stats.tensors.histograms import histograms_on_device

CALLS = 30


def fastest(function: Callable[[], object]) -> float:
    """Seconds of the fastest call."""
    found = []
    for _ in range(CALLS):
        start = perf_counter()
        function()
        found.append(perf_counter() - start)
    return min(found)


def timed(chosen: Loops, tensors: Sequence[Tensor]) -> dict[str, float]:
    """Seconds of each statistic with these loops."""
    with using(chosen):
        before = Snapshot(tensors)
        return {
            "norm": fastest(lambda: norms(tensors)),
            "norm, mean, std, max, zeros, non-finite": fastest(lambda: summary_table(tensors)),
            "copy": fastest(lambda: Snapshot(tensors)),
            "distance to a copy": fastest(before.distances),
            "histogram": fastest(lambda: histograms(tensors)),
        }


def main() -> None:
    """Print a table for each program."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for program in (mlp(1), transformer(1)):
        tensors = list(program.model.parameters())
        columns = {"without": timed(without_numba(), tensors)}
        if loops() != without_numba():
            columns["numba"] = timed(loops(), tensors)
        title = f"{program.name}, {sum(sizes_of(tensors)):,} elements"
        print(f"\n{title:45s}" + "".join(f"{name:>12s}" for name in columns) + "       ratio")
        for name in columns["without"]:
            cells = "".join(f"{1e3 * column[name]:9.3f} ms" for column in columns.values())
            ratio = columns["without"][name] / columns.get("numba", columns["without"])[name]
            print(f"{name:45s}{cells}  {ratio:8.1f} x")
        plain = [tensor.detach() for tensor in tensors]
        seconds = fastest(lambda: histograms_on_device(plain, 64))  # noqa: B023
        print(f"{'histogram by torch (not used on a CPU)':45s}{1e3 * seconds:9.3f} ms")


if __name__ == "__main__":
    main()
