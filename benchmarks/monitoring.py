"""What monitoring costs: the same training, bare, watched by others, and by trainkit.

python benchmarks/monitoring.py [--quick] [--only light]

Every figure is a multiple of the bare PyTorch loop in the same run. Machines change their speed
within seconds, so each run of a case stands between two of the bare loop and is divided by their
mean; the table has the medians of these ratios over interleaved repetitions, three times as many of
what comes close to the bare loop. The clock starts after a few iterations, in which everybody
imports and allocates. Lightning and wandb are measured where they are installed
(`pip install trainkit[bench]`).
"""

import argparse
import gc
import importlib.util
import logging
import os
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

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
from programs import Program, mlp, transformer
from torch import nn

from trainkit import Budget, attach_monitors
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.metered import Metered
from trainkit.stats.cpu.loops import loops, without_numba

# Trains a program in a folder; returns seconds per iteration, without the warm-up.
Case = Callable[[Program, str], float]


# By case, what the monitoring says it costs, run by run.
Reports = dict[str, list[float]]


class Found(NamedTuple):
    """What one case came to."""

    seconds: float
    ratio: float


BARE = "bare PyTorch loop"
LIGHT = "trainkit: light (budget 0.02)"
EVERY = "trainkit: all statistics, every iteration"
_LONG = 5  # so many times as slow a case is given so many times fewer iterations
_WHOLE = 500  # and at least so many: fifty samples are taken in every run, whatever they cost
_STEADY = 4  # a budget is given so many times more: in a few iterations it has one sample or two
_CLOSE, _MORE = 1.15, 3  # below this ratio noise is most of it: so many times the repetitions


def seconds(program: Program) -> float:
    return (perf_counter() - program.started) / program.iterations


def bare(program: Program, folder: str) -> float:
    for batch in program.data():
        program.step(None, batch)
    return seconds(program)


def engine_of(program: Program) -> tuple[Engine, Callable[[], float]]:
    engine = Engine(program.step)

    def run() -> float:
        engine.run(program.data(), max_epochs=1, epoch_length=program.length)
        return seconds(program)

    return engine, run


def ignite_alone(program: Program, folder: str) -> float:
    return engine_of(program)[1]()


def ignite_logging(*, norms: bool = False, histograms: bool = False) -> Case:
    def case(program: Program, folder: str) -> float:
        engine, run = engine_of(program)
        logger = TensorboardLogger(log_dir=folder)
        handlers: list[Any] = [
            OutputHandler("training", output_transform=lambda output: {"loss": output["loss"]}),
            OptimizerParamsHandler(program.optimizer),
        ]
        if norms:
            handlers += [GradsScalarHandler(program.model), WeightsScalarHandler(program.model)]
        if histograms:
            handlers += [GradsHistHandler(program.model), WeightsHistHandler(program.model)]
        for handler in handlers:
            logger.attach(engine, handler, Events.ITERATION_COMPLETED)
        found = run()
        logger.close()
        return found

    return case


def watched(
    budget: float | None = None, reports: list[float] | None = None, **options: Any
) -> Case:
    """Attach everything on the checklist; `reports` gets what the monitoring says it costs."""

    def case(program: Program, folder: str) -> float:
        engine, run = engine_of(program)
        with attach_monitors(
            engine,
            model=program.model,
            optimizers=program.optimizer,
            loss_fn=program.loss_fn,
            writer=folder,
            **({"every": Budget(budget)} if budget else {"every": 1}),
            **options,
        ) as monitors:
            cadence: Any = monitors.sampler.cadence
            before: list[float] = []
            program.at_start = lambda: before.extend((cadence.spent, cadence.training))
            found = run()
            if reports is not None:
                spent, training = before
                reports.append((cadence.spent - spent) / (cadence.training - training))
        return found

    return case


def lightning(*, norms: bool) -> Case:
    def case(program: Program, folder: str) -> float:
        import lightning as lightning_package
        from lightning.pytorch.loggers import TensorBoardLogger

        class Module(lightning_package.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.model = program.model

            def training_step(self, batch: Any, number: int) -> Any:
                loss = program.loss_fn(self.model(batch[0]), batch[1])
                self.log("loss", loss)
                self.log("lr", program.optimizer.param_groups[0]["lr"])
                return loss

            def on_before_optimizer_step(self, optimizer: Any) -> None:
                if norms:
                    found = {f"gradient/{n}": p.grad.norm() for n, p in self.named_parameters()}
                    found |= {f"weight/{n}": p.norm() for n, p in self.named_parameters()}
                    self.log_dict(found)

            def configure_optimizers(self) -> Any:
                return program.optimizer

        class Data(torch.utils.data.IterableDataset[Any]):
            def __iter__(self) -> Iterator[Any]:
                return program.data()

        trainer = lightning_package.Trainer(
            accelerator="cpu", max_epochs=1, log_every_n_steps=1, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False,
            logger=TensorBoardLogger(folder),
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(Data(), batch_size=None))
        return seconds(program)

    return case


def wandb_watch(program: Program, folder: str) -> float:
    import wandb

    os.environ["WANDB_SILENT"] = "true"
    with wandb.init(mode="offline", dir=folder) as run:
        run.watch(program.model, log="all", log_freq=1)
        for batch in program.data():
            output = program.step(None, batch)
            run.log({"loss": output["loss"], "lr": 1e-4})
        found = seconds(program)
        run.unwatch(program.model)
    return found


# The same things as the others write; everything but histograms; histograms too.
_ASKED = {"activations": False, "memory": False, "throughput": False}


def cases(reports: Reports) -> dict[str, Case]:
    found: dict[str, Case] = {
        "Ignite engine, no handlers": ignite_alone,
        "Ignite: loss and lr": ignite_logging(),
        "Ignite: + norms of gradients and weights": ignite_logging(norms=True),
        "Ignite: + histograms of them": ignite_logging(norms=True, histograms=True),
    }
    if importlib.util.find_spec("lightning"):
        found["Lightning: loss and lr"] = lightning(norms=False)
        found["Lightning: + norms of gradients and weights"] = lightning(norms=True)
    if importlib.util.find_spec("wandb"):
        found['wandb.watch(log="all"), offline'] = wandb_watch
    found |= {
        LIGHT: watched(budget=0.02, reports=reports[LIGHT]),
        EVERY: watched(reports=reports[EVERY], **_ASKED),
        "trainkit: + histograms, every iteration": watched(histograms_every=1, **_ASKED),
        "trainkit: everything there is, every iteration": watched(histograms_every=1),
    }
    return found


@contextmanager
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def seconds_of(program: Program, case: Case) -> float:
    """Per iteration, of one run from the same start."""
    program.reset()
    gc.collect()  # nobody pays for what the case before has left behind
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return case(program, folder)


def measured(program: Program, repetitions: int, reports: Reports, only: str) -> dict[str, Found]:
    """By case: median seconds per iteration, and the median ratio to the bare loop around it."""
    times: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    full = program.iterations
    for number in range(_MORE * repetitions):
        before = seconds_of(program, bare)
        for name, case in cases(reports).items():
            if only not in name:
                continue
            if number >= repetitions and median(ratios[name]) > _CLOSE:
                continue
            slow = ratios.get(name, [0.0])[0] > _LONG
            program.iterations = max(full // _LONG, 3) if slow else full
            if name == LIGHT:
                program.iterations = max(_STEADY * full, _WHOLE)
            found = seconds_of(program, case)
            program.iterations = full
            after = seconds_of(program, bare)
            times.setdefault(BARE, []).append(after)
            times.setdefault(name, []).append(found)
            ratios.setdefault(name, []).append(found / (before + after) * 2)
            before = after
    ratios[BARE] = [1.0]
    return {name: Found(median(times[name]), median(ratios[name])) for name in times}


def table(programs: list[Program], repetitions: int, only: str) -> None:
    print(f"{'':47s}" + "".join(f"{program.name:>28s}" for program in programs))
    reports: list[Reports] = [defaultdict(list) for _ in programs]
    columns = [measured(p, repetitions, r, only) for p, r in zip(programs, reports, strict=True)]
    for name in columns[0]:
        found = [column[name] for column in columns]
        cells = [f"{f.seconds * 1e3:9.2f} ms {f.ratio:7.3f} x" for f in found]
        print(f"{name:47s}" + "".join(f"{cell:>28s}" for cell in cells))
    for name in (LIGHT, EVERY):
        if name in columns[0]:
            said = "".join(f"{1 + median(r[name]):26.3f} x" for r in reports)
            print(f"{'by its report: ' + name.removeprefix('trainkit: '):47s}{said}")


def unsampled(iterations: int = 20_000) -> None:
    """What the whole checklist costs in an iteration that is not sampled."""
    model = nn.ModuleList(nn.Linear(2, 2) for _ in range(500))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    output = {"loss": torch.tensor(1.0)}

    def step(engine: Engine, batch: int) -> Any:
        if engine.state.iteration <= 3:  # what was sampled waits for the optimizer's step
            optimizer.step()
        return output

    times: dict[str, list[float]] = {"alone": [], "watched": []}
    for _ in range(7):
        for name, found in times.items():
            engine = Engine(step)
            marks: list[float] = []

            def data(marks: list[float] = marks) -> Iterator[int]:
                for i in range(iterations + 10):
                    if i == 10:
                        marks.append(perf_counter())
                    yield i

            with tempfile.TemporaryDirectory() as folder:
                if name == "watched":
                    attach_monitors(
                        engine, model=model, optimizers=optimizer, writer=folder,
                        predictions=None, every=Metered(Every(1 << 40)),
                    )  # fmt: skip
                engine.run(data(), max_epochs=1, epoch_length=iterations + 10)
                found.append((perf_counter() - marks[0]) / iterations)
    alone, both = (median(found) for found in times.values())
    print(f"\nan iteration that is not sampled, 1,000 tensors: {1e6 * (both - alone):.1f} µs more")
    print(f"(than the {1e6 * alone:.1f} µs of an Ignite engine that does nothing; goal: 10)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer iterations and repetitions")
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--repetitions", type=int, help="of each case; three times as many near 1")
    asked = parser.parse_args()
    quick_run = asked.quick
    kind = "torch" if loops() == without_numba() else "numba"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {kind}")
    with quiet():
        programs = [mlp(50), transformer(5)] if quick_run else [mlp(1000), transformer(15)]
        table(programs, asked.repetitions or (2 if quick_run else 7), only=asked.only)
        if not asked.only:
            unsampled()


if __name__ == "__main__":
    main()
