"""Several processes: raw is what they have averaged, and only one of them needs to watch."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainkit import GradientMonitor, MemoryWriter


def train(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for static in (False, True):
        watch(rank, static)
    if rank == 0:
        Path(folder, "done").touch()
    dist.destroy_process_group()
    # Now and then torch waits for itself for ever when it frees the model of a group that is gone.
    os._exit(0)


def watch(rank: int, static: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    model = DistributedDataParallel(module, static_graph=static)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def step(engine: Engine, batch: Tensor) -> None:
        optimizer.zero_grad()
        model(batch[rank::2]).square().mean().backward()
        optimizer.step()

    writer, engine = MemoryWriter(), Engine(step)
    if rank == 0:
        GradientMonitor(writer, model=model, optimizers=optimizer).attach(engine)
    batch = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    engine.run([batch] * 3)
    if rank == 0:
        module.zero_grad()
        module(batch).square().mean().backward()
        expected = nn.utils.get_total_norm([p.grad for p in module.parameters()]).item()
        raw, seen = (
            dict(writer.scalars[f"gradients/global_norm{which}"]) for which in ("_raw", "")
        )
        assert raw == pytest.approx(dict.fromkeys((1, 2, 3), expected), rel=1e-5), static
        assert seen == pytest.approx(raw, rel=1e-6), static
        assert "tensors.gradients.norm/0.weight" in writer.scalars


@pytest.mark.slow
def test_the_raw_gradient_is_the_average_of_the_processes() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(train, (folder,), nprocs=2)
        assert Path(folder, "done").exists()
