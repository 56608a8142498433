"""What monitoring costs: the same training, bare, watched by Ignite's handlers, and by trainkit.

python benchmarks/monitoring.py [--quick]

Every figure is a multiple of the bare PyTorch loop in the same run: the repetitions of all cases
are interleaved, and the medians compared.
"""

import argparse
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers.tensorboard_logger import (
    GradsHistHandler,
    GradsScalarHandler,
    OptimizerParamsHandler,
    OutputHandler,
    TensorboardLogger,
    WeightsHistHandler,
    WeightsScalarHandler,
)
from torch import Tensor, nn

from trainkit import Budget, attach_monitors
from trainkit.models import Transformer

Batch = tuple[Tensor, Tensor]
Loop = tuple[Callable[[], None], Callable[[], Any]]  # what is timed, and what ends it


@dataclass
class Program:
    """A model, its optimizer and batches that are there already."""

    name: str
    model: nn.Module
    batches: list[Batch]
    iterations: int

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.loss_fn = nn.CrossEntropyLoss()

    def step(self, engine: Engine | None, batch: Batch) -> dict[str, Any]:
        x, y = batch
        self.optimizer.zero_grad()
        y_pred = self.model(x)
        loss = self.loss_fn(y_pred, y)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach(), "y_pred": y_pred.detach(), "y": y}

    def data(self) -> Iterator[Batch]:
        for i in range(self.iterations):
            yield self.batches[i % len(self.batches)]


def mlp(quick: bool) -> Program:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    batches = [(torch.randn(64, 64), torch.randint(0, 10, (64,))) for _ in range(8)]
    return Program("MLP, 6 tensors", model, batches, 100 if quick else 500)


def transformer(quick: bool) -> Program:
    torch.manual_seed(0)
    model = Transformer(vocabulary=97, length=64, layers=12, width=128, heads=4, dropout=0.0)
    batches = [(torch.randint(0, 97, (8, 64)), torch.randint(0, 97, (8, 64))) for _ in range(4)]
    tensors = sum(1 for _ in model.parameters())
    return Program(f"transformer, {tensors} tensors", model, batches, 6 if quick else 20)


def nothing() -> None:
    """There is nothing to end."""


def bare(program: Program, folder: str) -> Loop:
    def loop() -> None:
        for batch in program.data():
            program.step(None, batch)

    return loop, nothing


def engine_of(program: Program) -> tuple[Engine, Callable[[], None]]:
    engine = Engine(program.step)

    def loop() -> None:
        engine.run(list(program.data()), max_epochs=1)

    return engine, loop


def ignite_alone(program: Program, folder: str) -> Loop:
    return engine_of(program)[1], nothing


def ignite_logging(*, norms: bool = False, histograms: bool = False) -> Any:
    def setup(program: Program, folder: str) -> Loop:
        engine, loop = engine_of(program)
        logger = TensorboardLogger(log_dir=folder)
        every = Events.ITERATION_COMPLETED
        handlers: list[Any] = [
            OutputHandler("training", output_transform=lambda output: {"loss": output["loss"]}),
            OptimizerParamsHandler(program.optimizer),
        ]
        if norms:
            handlers += [GradsScalarHandler(program.model), WeightsScalarHandler(program.model)]
        if histograms:
            handlers += [GradsHistHandler(program.model), WeightsHistHandler(program.model)]
        for handler in handlers:
            logger.attach(engine, handler, every)
        return loop, logger.close

    return setup


def watched(**options: Any) -> Any:
    def setup(program: Program, folder: str) -> Loop:
        engine, loop = engine_of(program)
        every = options.pop("budget", None)
        handle = attach_monitors(
            engine,
            model=program.model,
            optimizers=program.optimizer,
            loss_fn=program.loss_fn,
            writer=folder,
            **({"every": Budget(every)} if every else {}),
            **options,
        )
        return loop, handle.remove

    return setup


# Issue by issue the same things: the loss and lr; norms; everything; histograms.
_STATISTICS = {"activations": False, "memory": False, "throughput": False}
CASES: dict[str, Any] = {
    "bare PyTorch loop": bare,
    "Ignite engine, no handlers": ignite_alone,
    "Ignite: loss and lr": ignite_logging(),
    "Ignite: + norms of gradients and weights": ignite_logging(norms=True),
    "Ignite: + histograms of them": ignite_logging(norms=True, histograms=True),
    "trainkit: light (budget 0.02)": lambda p, f: watched(budget=0.02)(p, f),
    "trainkit: all statistics, every iteration": lambda p, f: watched(every=1, **_STATISTICS)(p, f),
    "trainkit: + activations, memory, speed": lambda p, f: watched(every=1)(p, f),
    "trainkit: + histograms, every iteration": lambda p, f: watched(
        every=1, histograms_every=1, **_STATISTICS
    )(p, f),
}


@contextmanager
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def table(programs: list[Program], repetitions: int) -> None:
    print(f"{'':44s}" + "".join(f"{program.name:>28s}" for program in programs))
    columns: list[dict[str, float]] = []
    for program in programs:
        seconds: dict[str, list[float]] = {name: [] for name in CASES}
        for _ in range(repetitions):
            for name, setup in CASES.items():
                with tempfile.TemporaryDirectory() as folder:
                    loop, close = setup(program, folder)
                    for batch in program.batches[:2]:
                        program.step(None, batch)
                    start = perf_counter()
                    loop()
                    seconds[name].append((perf_counter() - start) / program.iterations)
                    close()
        columns.append({name: statistics.median(times) for name, times in seconds.items()})
    for name in CASES:
        cells = [
            f"{column[name] * 1e3:9.2f} ms {column[name] / column['bare PyTorch loop']:6.2f} x"
            for column in columns
        ]
        print(f"{name:44s}" + "".join(f"{cell:>28s}" for cell in cells))


def unsampled(iterations: int = 20_000) -> None:
    """What the whole checklist costs in an iteration that is not sampled."""
    model = nn.ModuleList(nn.Linear(2, 2) for _ in range(500))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    times: dict[str, list[float]] = {"alone": [], "watched": []}
    for _ in range(5):
        for name, found in times.items():
            engine = Engine(lambda engine, batch: None)
            with tempfile.TemporaryDirectory() as folder:
                if name == "watched":
                    attach_monitors(
                        engine, model=model, optimizers=optimizer, writer=folder,
                        predictions=None, every=10**9,
                    )  # fmt: skip
                engine.run([0], max_epochs=1)  # the first iteration is always sampled
                engine.state.max_epochs = None
                data = [0] * iterations
                start = perf_counter()
                engine.run(data, max_epochs=2, epoch_length=iterations)
                found.append((perf_counter() - start) / (2 * iterations))
    alone, both = (statistics.median(found) for found in times.values())
    print(f"\nan iteration that is not sampled, 1,000 tensors: {1e6 * (both - alone):.1f} µs more")
    print(f"(than the {1e6 * alone:.1f} µs of an Ignite engine that does nothing)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer iterations and repetitions")
    quick = parser.parse_args().quick
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with quiet():
        table([mlp(quick), transformer(quick)], repetitions=2 if quick else 5)
        unsampled()


if __name__ == "__main__":
    main()
