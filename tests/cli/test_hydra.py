"""Nothing of Hydra is lost behind the command."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from tests.cli.project import call


def test_cfg_shows_what_would_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(
        capsys, "run", "+experiment=digits", "model=mlp", "optimizer=sgd", "optimizer.lr=0.1",
        "--cfg", "job", "--resolve",
    )  # fmt: skip
    assert done.status == 0
    config = yaml.safe_load(done.out)
    assert config["model"]["_target_"] == "trainkit.models.MLP"
    assert config["optimizer"]["lr"] == 0.1
    assert config["data"]["seed"] == config["trainer"]["seed"]
    assert "hydra" not in config
    assert not (project / "runs").exists()


def test_one_part_of_the_config(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "--cfg", "job", "--package", "trainer")
    assert set(yaml.safe_load(done.out)) >= {"epochs", "device", "seed", "amp"}
    assert "model" not in yaml.safe_load(done.out)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("defaults", "experiment/own"),
        ("defaults-tree", "model: net"),
        ("searchpath", "trainkit.configs"),
        ("config", "mine.Net"),
        ("plugins", "basic"),
    ],
)
def test_info(what: str, expected: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "+experiment=own", "--info", what)
    assert done.status == 0, done.err
    assert expected.lower() in done.out.lower()


def test_help_shows_groups_and_keys(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "--help")
    assert done.status == 0
    for part in (
        "experiment: ",
        "digits",
        "own",
        "model: ",
        "net",
        "batch_size",
        "--multirun",
        "trainkit run",
    ):
        assert part in done.out
    assert call(capsys, "run", "--hydra-help").status == 0


def test_every_flag_is_in_the_help_that_lists_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hydra._internal.utils import get_args_parser

    out = call(capsys, "run", "--hydra-help").out
    for action in get_args_parser()._actions:
        # What this command does anyway, reads a pickle, or is another command here.
        if action.dest not in ("overrides", "run", "experimental_rerun", "shell_completion"):
            assert any(flag in out for flag in action.option_strings), action.option_strings
    assert "fish" not in out.lower()
    assert max(map(len, out.splitlines())) <= 100


def test_config_dir_adds_options(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "more" / "model"
    folder.mkdir(parents=True)
    (folder / "wide.yaml").write_text("_target_: mine.Net\nwidth: 64\n")
    (folder / "odd.yaml").write_text("_target_: mine.Net\nwidht: 64\n")
    done = call(capsys, "run", "--config-dir", "more", "model=wide", "--cfg", "job")
    assert yaml.safe_load(done.out)["model"]["width"] == 64
    refused = call(capsys, "run", "--config-dir", "more", "model=odd")
    assert refused.status == 2
    assert "more/model/odd.yaml:2: model.widht" in refused.err
    nearest = call(capsys, "run", "--config-dir", "more", "model=wid")
    assert "did you mean wide?" in nearest.err


def test_a_config_of_ones_own(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "configs" / "mine.yaml").write_text(
        "defaults: [config, override model: net, _self_]\ntrainer: {epochs: 7}\n"
    )
    done = call(capsys, "run", "-cd", "configs", "-cn", "mine", "--cfg", "job")
    assert done.status == 0, done.err
    config = yaml.safe_load(done.out)
    assert (config["model"]["_target_"], config["trainer"]["epochs"]) == ("mine.Net", 7)


def test_a_key_can_be_added_and_removed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(
        capsys, "run", "model=net", "+model.depth=3", "~model.width", "--cfg", "job"
    )  # fmt: skip
    assert yaml.safe_load(done.out)["model"] == {"_target_": "mine.Net", "depth": 3}


def test_one_project_leaves_nothing_for_the_next(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(capsys, "run", "+experiment=own", "--cfg", "job").status == 0
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    done = call(capsys, "run", "+experiment=own", "--cfg", "job")
    assert done.status == 2
    assert "there is no experiment 'own'" in done.err


@pytest.mark.parametrize(
    ("arguments", "times"),
    [(["trainer.epochs=0"], 1), (["trainer.epochs=0", "hydra.mode=RUN"], 2)],
)
def test_a_config_is_composed_once(
    arguments: list[str],
    times: int,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hydra composes it twice, the first time only to read `hydra.mode`."""
    composed, original = [], ConfigLoaderImpl.load_configuration

    def load(self: ConfigLoaderImpl, *given: Any, **named: Any) -> Any:
        composed.append(given)
        return original(self, *given, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load)
    assert call(capsys, "run", *arguments).status == 2
    assert len(composed) == times


@pytest.mark.parametrize("place", ["command line", "experiment"])
def test_a_mode_that_is_set_is_kept(
    place: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "experiments" / "two.yaml").write_text(
        "# A sweep by itself\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      trainer.epochs: 0,-1\n"
    )
    chosen = ["hydra.mode=MULTIRUN", "trainer.epochs=0,-1"]
    done = call(capsys, "run", *(chosen if place == "command line" else ["+experiment=two"]))
    assert "1/2 " in done.out, done.err
