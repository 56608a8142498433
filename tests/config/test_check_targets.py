"""A `_target_` that exists and takes its arguments passes; another is refused by name."""

from typing import Any

import pytest

from trainkit.config.check_targets import check_targets, locate
from trainkit.config.errors import ConfigError
from trainkit.config.origins import Origins

NOWHERE = Origins([], {}, {}, [])


@pytest.mark.parametrize(
    "target", ["torch.nn.Linear", "trainkit.data.digits", "builtins.dict", "torch.optim.SGD"]
)
def test_located(target: str) -> None:
    assert callable(locate(target))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("torch.nn.Liner", "did you mean Linear"),
        ("torch.nn.Linear.forwrad", "did you mean forward"),
        ("torch.nn", "not callable"),
        ("nowhere.at.all", "no module 'nowhere'"),
        ("torch..nn", "no dotted name"),
        ("", "no dotted name"),
    ],
)
def test_not_located(target: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        locate(target)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1},
        {"_target_": "torch.nn.Linear", "_partial_": True},
        {"_target_": "torch.nn.Linear", "_args_": [2, 1]},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]},
        {"_target_": "builtins.dict", "anything": 1},
        {"_target_": "ignite.metrics.Accuracy", "device": "cpu", "_partial_": True},
    ],
)
def test_accepted(node: dict[str, Any]) -> None:
    assert check_targets({"model": node}, NOWHERE) == []


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"_target_": "torch.nn.Linear", "in_features": 2}, "needs out_features; set model.out_fe"),
        ({"_target_": "torch.nn.ReLU", "inplce": True}, "did you mean inplace"),
        ({"_target_": "torch.nn.Linear", "_partial_": "yes"}, "_partial_ must be true or false"),
        ({"_target_": "torch.nn.Linear", "in_features": "2", "out_features": 1}, "must be int"),
        (
            {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.RuLE"}]},
            r"model\._args_\[0\]\._target_: torch.nn has no 'RuLE'",
        ),
    ],
)
def test_refused(node: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        check_targets({"model": node}, NOWHERE)


@pytest.mark.parametrize(
    "target",
    ["os.system", "posix.system", "subprocess.run", "subprocess.Popen", "builtins.eval",
     "builtins.exec", "builtins.open", "builtins.__import__", "shutil.rmtree", "os.remove",
     "torch.os.system", "pickle.loads", "importlib.import_module", "runpy.run_path", "sys.exit",
     "ctypes.CDLL", "pathlib.os.unlink", "os.execv", "socket.socket"],
)  # fmt: skip
def test_what_runs_commands_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match=f"model._target_: {target} is refused") as refused:
        check_targets({"model": {"_target_": target, "_args_": ["x"]}}, NOWHERE)
    assert "\n" not in str(refused.value)


def test_what_hydra_hands_out_is_looked_at_too() -> None:
    node = {"_target_": "hydra.utils.get_method", "path": "os.system"}
    with pytest.raises(ConfigError, match=r"os\.system is refused"):
        check_targets({"model": node}, NOWHERE)


@pytest.mark.parametrize("target", ["os.path.join", "os.cpu_count", "pathlib.Path", "builtins.len"])
def test_what_harms_nobody_is_not(target: str) -> None:
    check_targets({"model": {"_target_": target, "_partial_": True}}, NOWHERE)
