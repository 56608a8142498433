"""The sinks of tracking services: a run in a process with each package, read back by the package.

`make services` installs the packages, each into a folder of its own.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.writers.reading import raw_scalars

pytestmark = pytest.mark.services
PARTS = ("train", "validation", "test")
ITERATIONS = 18

WANDB = """
import glob, json, struct, sys
from wandb.proto.wandb_internal_pb2 import Record

def records(path):  # LevelDB's log format, behind a header of 7 bytes
    data, at, part = open(path, "rb").read(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        part, at = part + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):
            yield part
            part = b""

found, config, ended = {}, {}, []
for path in sorted(glob.glob("run/wandb/offline-run-*/*.wandb")):
    for data in records(path):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = {i.key or "/".join(i.nested_key): json.loads(i.value_json)
                   for i in record.history.item}
            for key, value in row.items():
                if isinstance(value, (int, float)) and "/" in key:
                    found.setdefault(key, []).append((row["iteration"], value))
        elif kind == "config":
            config |= {u.key or "/".join(u.nested_key): json.loads(u.value_json)
                       for u in record.config.update}
        elif kind == "exit":
            ended.append(record.exit.exit_code)
print(json.dumps([found, config["trainer.epochs"], ended[-1] == 0]))
"""
MLFLOW = """
import json
from pathlib import Path
from mlflow import MlflowClient
client = MlflowClient((Path.cwd() / "ml").as_uri())
(run,) = client.search_runs([client.get_experiment_by_name("trainkit").experiment_id])
found = {}
for tag in run.data.metrics:
    history = client.get_metric_history(run.info.run_id, tag)
    found[tag] = [(each.step, each.value) for each in history]
epochs = int(run.data.params["trainer.epochs"])
print(json.dumps([found, epochs, run.info.status == "FINISHED"]))
"""
TRACKIO = """
import json
from trackio.sqlite_storage import SQLiteStorage as Storage
(run,) = Storage.get_runs("trainkit")
found = {}
for row in Storage.get_logs("trainkit", run):
    for key, value in row.items():
        if "/" in key:
            found.setdefault(key, []).append((row["step"], value))
print(json.dumps([found, Storage.get_run_config("trainkit", run)["trainer.epochs"], True]))
"""
CLEARML = """
import json
from pathlib import Path
found = {}
(folder,) = [p for p in Path("home/offline").rglob("metrics.jsonl")]
for line in folder.read_text().splitlines():
    for each in json.loads(line):
        if each["type"] == "training_stats_scalar":
            tag = f"{each['variant']}/{each['metric']}"
            found.setdefault(tag, []).append((each["iter"], each["value"]))
print(json.dumps([found, 2, True]))
"""
SERVICES = {
    "wandb": ("wandb", ["sinks.wandb.mode=offline"], WANDB),
    "mlflow": ("mlflow-skinny", ["sinks.mlflow.tracking_uri=ml"], MLFLOW),
    "trackio": ("trackio", [], TRACKIO),
    "clearml": ("clearml", ["sinks.clearml.offline=true"], CLEARML),
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_every_number_of_the_event_files(tmp_path: Path, service: str) -> None:
    package, options, reader = SERVICES[service]
    found, epochs, ended = _after(tmp_path, package, reader, service, options)
    assert (epochs, ended) == (2, True)
    _check(tmp_path, found)


@pytest.mark.parametrize("service", ["wandb", "mlflow", "trackio"])
def test_a_resumed_run_goes_on_in_the_same_one(tmp_path: Path, service: str) -> None:
    package, options, reader = SERVICES[service]
    _after(tmp_path, package, reader, service, [*options, "trainer.max_iterations=9"])
    done = _python(tmp_path, package, "-m", "trainkit", "resume", "run",
                   "trainer.max_iterations=18")  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = _python(tmp_path, package, "-c", reader)
    assert read.returncode == 0, read.stderr
    found, epochs, ended = json.loads(read.stdout)
    assert (epochs, ended) == (2, True)
    _check(tmp_path, found, parts=("train",))


def _check(folder: Path, found: dict[str, Any], parts: tuple[str, ...] = PARTS) -> None:
    """MLflow refuses some characters in names; those tags are of single tensors."""
    for part in parts:
        for tag, points in raw_scalars(folder / "run" / part).items():
            if tag.startswith("tensors."):
                continue
            theirs = dict(map(tuple, found[f"{part}/{tag}"]))
            for point in points:
                assert struct.pack("f", theirs[point[0]]) == struct.pack("f", point[-1]), tag
    losses = found["train/loss/total"]
    assert [step for step, _ in losses] == list(range(1, ITERATIONS + 1))


def _after(
    folder: Path, package: str, reader: str, service: str, options: list[str]
) -> tuple[dict[str, Any], int, bool]:
    done = _python(
        folder, package, "-m", "trainkit", "run", "+experiment=diabetes", f"sinks={service}",
        "trainer.epochs=2", "trainer.progress_bar=false", "hydra.run.dir=run", *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sinks." not in (folder / "run" / "run.log").read_text().replace(f"sinks.{service}.", "")
    read = _python(folder, package, "-c", reader)
    assert read.returncode == 0, read.stderr
    found, epochs, ended = json.loads(read.stdout)
    return found, epochs, ended


def _python(folder: Path, package: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    place = Path(os.environ.get("TRAINKIT_SERVICES", "nowhere")) / package
    if not place.is_dir():
        pytest.skip(f"{package} is not installed: make services")
    environment = dict(_inherited()) | {
        "PYTHONPATH": str(place), "WANDB_SILENT": "true", "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true", "TRACKIO_DIR": str(folder / "trackio"),
        "CLEARML_CACHE_DIR": str(folder / "home"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, text=True, capture_output=True,
        timeout=300,
    )  # fmt: skip


def _inherited() -> Iterator[tuple[str, str]]:
    yield from ((k, v) for k, v in os.environ.items() if not k.startswith(("WANDB", "MLFLOW")))
