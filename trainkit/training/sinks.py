"""Further places where the numbers of a run can go: options of the group `sinks`."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from trainkit.writers.protocol import Sink
from trainkit.writers.sinks import ignite_services as services
from trainkit.writers.sinks.json_lines import JsonLinesSink
from trainkit.writers.sinks.prometheus import PrometheusSink
from trainkit.writers.sinks.service_sink import ServiceSink
from trainkit.writers.step.host_step import Step

__all__ = [
    "NEEDED",
    "check_file",
    "clearml",
    "json_lines",
    "mlflow",
    "prometheus",
    "trackio",
    "wandb",
]

# What a task of ClearML hooks into by itself. `False` for all of it would leave the search for a
# repository, which forks in a thread and can hang for ever.
_CLEARML_HOOKS = (
    "catboost", "detect_repository", "fastai", "gradio", "hydra", "joblib", "lightgbm",
    "matplotlib", "megengine", "pytorch", "scikit", "tensorboard", "tensorflow", "tfdefines",
    "xgboost",
)  # fmt: skip


def json_lines(directory: Path, resumed_at: int = 0, file: str = "series.jsonl") -> Sink:
    """A line of JSON for each step and part of the data, in a file in the run's folder.

    A run that is resumed first removes the lines of the iterations that are done again.

    Args:
        directory: The run's folder.
        resumed_at: The first iteration that is still to come; 0: the run is new.
        file: The file's name, which ends with `.jsonl`.

    Raises:
        ValueError: It has another ending, or would not be in the folder.
    """
    check_file(file)
    path = directory / file
    if resumed_at and path.exists():
        kept = [line for line in path.read_bytes().splitlines(True) if _before(line, resumed_at)]
        beside = path.with_name(f".{file}.new")
        beside.write_bytes(b"".join(kept))
        beside.replace(path)
    return JsonLinesSink(path)


def check_file(file: str) -> None:
    """Check the name of a file of JSON lines.

    Raises:
        ValueError: It has another ending than `.jsonl`, or would not be in the run's folder.
    """
    if Path(file).name != file or not file.endswith(".jsonl"):
        raise ValueError(
            f"file must be the name of a file in the run's folder and end with .jsonl, got {file!r}"
        )


def prometheus(directory: Path, name: str = "", path: str | None = None) -> Sink:
    """The newest scalars in a text file of Prometheus: see `trainkit.PrometheusSink`.

    Args:
        directory: The run's folder.
        name: The value of the label `run`; by default the name of the run's folder.
        path: The file; by default `metrics.prom` in the run's folder.
    """
    target = directory / "metrics.prom" if path is None else Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    return PrometheusSink(target, {"run": name or directory.name})


def wandb(
    directory: Path,
    run: str,
    name: str = "",
    project: str = "trainkit",
    entity: str | None = None,
    mode: Literal["online", "offline"] | None = None,
) -> Sink:
    """A run of Weights & Biases; the axis of every chart is the iteration.

    A run that is resumed goes on in the same one.

    Args:
        directory: The run's folder; W&B keeps its files there too.
        run: The run's id.
        name: The name that W&B shows; by default the name of the run's folder.
        project: The W&B project.
        entity: The W&B user or team; None: the one that is logged in.
        mode: `online` or `offline`; None: as W&B's own settings say.
    """
    module = importlib.import_module("wandb")
    handle = module.init(
        project=project, entity=entity, name=name or directory.name, id=run, resume="allow",
        dir=str(directory), mode=mode,
        settings=module.Settings(console="off", disable_git=True, x_disable_stats=True),
    )  # fmt: skip
    handle.define_metric("iteration")
    handle.define_metric("*", step_metric="iteration")
    adapter = SimpleNamespace(
        # W&B's own step may never go back, and an evaluation's numbers come after later losses.
        log=lambda row, step: handle.log({**row, "iteration": step}),
        Histogram=module.Histogram, Image=module.Image, Html=module.Html, config=handle.config,
    )  # fmt: skip
    return ServiceSink(
        "wandb", services.wandb(adapter), lambda ok: handle.finish(exit_code=0 if ok else 1)
    )


def mlflow(
    directory: Path,
    run: str,
    name: str = "",
    experiment: str = "trainkit",
    tracking_uri: str | None = None,
) -> Sink:
    """A run of MLflow. A run that is resumed goes on in the same one.

    Args:
        directory: The run's folder.
        run: The run's id, kept as the tag `trainkit.run`.
        name: The name that MLflow shows; by default the name of the run's folder.
        experiment: The MLflow experiment; it is made if there is none of this name.
        tracking_uri: Where MLflow keeps runs; None: as its own settings say.
    """
    module = importlib.import_module("mlflow")
    client = module.MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    place = client.create_experiment(experiment) if found is None else found.experiment_id
    same = client.search_runs([place], f"tags.`trainkit.run` = '{run}'", max_results=1)
    if same:
        begun = same[0]
        client.update_run(begun.info.run_id, status="RUNNING")
    else:
        begun = client.create_run(
            place, tags={"trainkit.run": run}, run_name=name or directory.name
        )
    service = services.mlflow(SimpleNamespace(active_run=begun), client)
    known = begun.data.params

    def write(host: Step) -> None:
        # MLflow refuses another value for a parameter: those of the first part of the run stay.
        new = {key: value for key, value in host.hparams.items() if key not in known}
        service(replace(host, hparams=new) if new.keys() != host.hparams.keys() else host)

    return ServiceSink(
        "mlflow",
        write,
        lambda ok: client.set_terminated(begun.info.run_id, "FINISHED" if ok else "FAILED"),
    )


def clearml(
    directory: Path,
    run: str,
    name: str = "",
    project: str = "trainkit",
    offline: bool = False,
) -> Sink:
    """A task of ClearML. Its automatic logging of frameworks, arguments and output is switched off.

    A chart holds the lines of one tag: training, validation and test.

    A run that is resumed begins a new task, tagged with the same id.

    Args:
        directory: The run's folder.
        run: The run's id, a tag of the task.
        name: The name of the task; by default the name of the run's folder.
        project: The ClearML project.
        offline: Keep everything on this machine, in ClearML's cache folder.
    """
    module = importlib.import_module("clearml")
    if offline:
        module.Task.set_offline(True)
    task = module.Task.init(
        project_name=project, task_name=name or directory.name, tags=[f"trainkit.run:{run}"],
        reuse_last_task_id=False, auto_connect_arg_parser=False,
        auto_connect_frameworks=dict.fromkeys(_CLEARML_HOOKS, False),
        auto_connect_streams=False, auto_resource_monitoring=False,
    )  # fmt: skip
    adapter = SimpleNamespace(clearml_logger=task.get_logger(), get_task=lambda: task)

    def end(ok: bool) -> None:
        if not ok:
            task.mark_failed(status_reason="the run was not completed", force=True)
        task.close()

    return ServiceSink("clearml", services.clearml(adapter, _one_chart), end)


def trackio(
    directory: Path,
    run: str,
    name: str = "",
    project: str = "trainkit",
) -> Sink:
    """A run of trackio, on this machine: its scalars and hyperparameters, and no pictures.

    A run that is resumed goes on in the same one.

    Args:
        directory: The run's folder.
        run: The run's id; its first six characters are added to the name, to make it unique.
        name: The name that trackio shows; by default the name of the run's folder.
        project: The trackio project.
    """
    module = importlib.import_module("trackio")
    handle = module.init(
        project=project, name=f"{name or directory.name}-{run[:6]}", resume="allow", embed=False,
        auto_log_gpu=False,
    )  # fmt: skip

    def write(host: Step) -> None:
        if host.scalars:
            handle.log(dict(host.scalars), step=host.step)
        if host.hparams:
            handle.config.update(dict(host.hparams))

    return ServiceSink("trackio", write, lambda ok: handle.finish())


#: Function → the package that it imports, and how that is installed.
NEEDED: Mapping[Callable[..., Sink], tuple[str, str]] = {
    clearml: ("clearml", "clearml"),
    mlflow: ("mlflow", "mlflow-skinny"),
    trackio: ("trackio", "trackio"),
    wandb: ("wandb", "wandb"),
}


def _one_chart(tag: str) -> tuple[str, str]:
    part, _, rest = tag.partition("/")
    return rest or part, part


def _before(line: bytes, iteration: int) -> bool:
    try:
        found: Mapping[str, Any] = json.loads(line)
    except ValueError:  # the last line of a run that was killed
        return False
    return int(found["step"]) < iteration
