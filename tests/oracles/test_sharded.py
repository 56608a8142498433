"""Parameters that are DTensors: the numbers of the whole, or a line that says why not."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import logging
import torch, torch.distributed as dist
from ignite.engine import Engine
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from trainkit import MemoryWriter, attach_monitors

rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.environ["GLOO_SOCKET_IFNAME"] = "lo"
said = []
logging.getLogger("trainkit").addFilter(lambda r: said.append(r.getMessage()) or True)
store = dist.FileStore(f"{folder}/store", processes)
dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
mesh = init_device_mesh("cpu", (processes,))

def made():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2))

def trained(model, sgd, steps=2):
    for i in range(steps):
        sgd.zero_grad()
        model(x).square().mean().backward()
        yield
        sgd.step()

x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
plain, truth = made(), []
sgd = torch.optim.SGD(plain.parameters(), lr=0.1)
for _ in trained(plain, sgd):
    truth.append([p.grad.norm().item() for p in plain.parameters()])
    before = [p.detach().clone() for p in plain.parameters()]
names = [name for name, _ in plain.named_parameters()]
expected = {f"tensors.gradients.norm/{n}": v for n, v in zip(names, truth[-1])}
for n, p, b in zip(names, plain.parameters(), before):
    p = p.detach()
    expected |= {f"tensors.weights.mean/{n}": p.mean(),
                 f"tensors.weights.std/{n}": p.std(correction=0),
                 f"tensors.weights.norm/{n}": p.norm(),
                 f"tensors.weights.max_abs/{n}": p.abs().max(),
                 f"tensors.updates.ratio/{n}": (p - b).norm() / b.norm()}
whole = torch.cat([p.detach().flatten() for p in plain.parameters()])
expected["weights/global_norm"] = whole.norm()

def watched(how):
    model = made()
    if how == "sharded":
        fully_shard(model, mesh=mesh)
    else:
        distribute_module(model, mesh)  # each process has all of it
    assert all(isinstance(p, DTensor) for p in model.parameters())
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        data = x if how == "sharded" else DTensor.from_local(x, mesh, [Replicate()])
        sgd.zero_grad()
        model(data).square().mean().backward()
        sgd.step()

    writer, engine = MemoryWriter(), Engine(step)
    attached = attach_monitors(engine, model=model, optimizers=sgd, writer=writer,
                               predictions=None, activations=False, histograms_every=1)
    engine.run([0, 0])
    found = {tag: values[-1][1] for tag, values in writer.scalars.items()}
    lines = [line for line in said if "leaves out" in line]
    said.clear()
    return {"found": found, "failures": list(map(repr, attached.failures.values())), "said": lines}

told = {how: watched(how) for how in ("sharded", "replicated")}
told["expected"] = {tag: float(value) for tag, value in expected.items()}
if rank == 0:
    json.dump(told, open(f"{folder}/told.json", "w"))
dist.barrier()
os._exit(0)
"""


def told_by(processes: int) -> dict[str, Any]:
    """What the first process wrote and said: of a sharded model and of a replicated one."""
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(rank), str(processes), folder],
                env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
            )
            for rank in range(processes)
        ]  # fmt: skip
        errors = [process.communicate(timeout=120)[1] for process in started]
        assert [process.returncode for process in started] == [0] * processes, errors
        found: dict[str, Any] = json.loads(Path(folder, "told.json").read_text())
        return found


def assert_whole(of: dict[str, Any], expected: dict[str, float]) -> None:
    assert of["failures"] == []
    assert of["said"] == []
    for tag, value in expected.items():
        assert of["found"][tag] == pytest.approx(value, rel=1e-5, abs=1e-7), tag


@pytest.mark.slow
def test_one_process_has_all() -> None:
    told = told_by(1)
    assert_whole(told["sharded"], told["expected"])
    assert_whole(told["replicated"], told["expected"])


@pytest.mark.slow
def test_of_several_processes_each_has_a_part() -> None:
    told = told_by(2)
    assert_whole(told["replicated"], told["expected"])
    of = told["sharded"]
    assert of["failures"] == []
    sections = {tag.split("/")[0].split(".")[0] for tag in of["found"]}
    assert not sections & {"weights", "gradients", "updates"}
    names = "0.weight, 0.bias, 2.weight, 2.bias, which each is spread over 2 processes"
    assert all(names in line for line in of["said"])
    assert sorted(line.split(" ")[0] for line in of["said"]) == [
        "GradientMonitor", "UpdateMonitor", "WeightMonitor",
    ]  # fmt: skip
