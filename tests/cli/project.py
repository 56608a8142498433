"""A user's own project, and the command line called in it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainkit.cli.main import main

ROOT = Path(__file__).parents[2]

FILES = {
    "mine.py": """
import torch
class Net(torch.nn.Module):
    def __init__(self, width: int = 16, depth=1):
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be positive, got {width}")
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU(),
            torch.nn.Linear(width, 10),
        )
    def forward(self, x):
        return self.layers(x)
class Breaks(Net):
    calls = 0
    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            raise RuntimeError("this model is broken")
        return super().forward(x)
def missing_file():
    return open("no/such/file")
class Hasty(Net):
    def __init__(self):
        raise AssertionError("too hasty")
def leave():
    raise SystemExit(7)
def vector(y_pred, y):
    return (y_pred.mean(1) - y) ** 2
def loss(y_pred, y):
    return torch.nn.functional.cross_entropy(y_pred, y)
def empty(**options):
    from trainkit.data import Batches, Data
    return Data(Batches(torch.zeros(0, 64), torch.zeros(0), batch_size=4))
class Bare(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]
""",
    "leaves.py": "import sys\nsys.exit(3)\n",
    "goes_round.py": "from goes_back import Thing\nclass Net: ...\n",
    "goes_back.py": "from goes_round import Net\nThing = 1\n",
    "latin.py": "x = '\xe9'\n",
    "configs/spare/one.yaml": "# A group of its own\na: 1\n",
    "configs/model/orphan.yaml": "# Its parent is not there\ndefaults: [parent, _self_]\n",
    "configs/model/circle.yaml": "# On itself\ndefaults: [circle]\n_target_: mine.Net\n",
    "configs/model/nothing.yaml": "",
    "configs/model/later.yaml": "# Made in the run\n_target_: mine.Hasty\n_partial_: true\n",
    "configs/model/latin.yaml": "# Latin 1\n# caf\xe9\n_target_: mine.Net\n",
    "configs/model/lost.yaml": "# Lost\n_target_: mine.Net\nwidth: ${no.where}\n",
    "configs/model/unset_variable.yaml": "# x\n_target_: mine.Net\nwidth: ${oc.env:NO_SUCH_V}\n",
    "configs/model/unknown_resolver.yaml": "# x\n_target_: mine.Net\nwidth: ${nope:1}\n",
    "configs/model/itself.yaml": "# x\n_target_: mine.Net\nwidth: ${model.width}\n",
    "configs/model/unread.yaml": "# x\n_target_: mine.Net\nwidth: ${trainer.epochs\n",
    "latin.csv": "a,y\n1,\xe9\n",
    "uses_missing.py": "import no_such_package",
    "configs/model/net.yaml": "# A model of my own\n_target_: mine.Net\nwidth: 16\n",
    "configs/model/breaks.yaml": "# Fails in training\n_target_: mine.Breaks\n",
    "configs/model/misspelt.yaml": "# Misspelt\n_target_: mine.Net\nwidht: 16\n",
    "configs/model/unset.yaml": "# Not set\n_target_: mine.Net\nwidth: ???\n",
    "configs/model/dangling.yaml": "# Dangling\n_target_: mine.Net\nwidth: ${model.withd}\n",
    "configs/model/unclosed.yaml": "# Not YAML\n_target_: mine.Net\nwidth: [16\n",
    "configs/model/hasnt.yaml": "# No target\nwidth: 3\n",
    "configs/model/several.yaml": "# A list\n- 1\n- 2\n",
    "configs/model/heir.yaml": "# On the one of mine\ndefaults: [net, _self_]\ndepht: 2\n",
    "configs/trainer/hasty.yaml": "# Misspelt\nepohcs: 1\n",
    "configs/trainer/wordy.yaml": "# Wrong type\nepochs: many\n",
    "experiments/own.yaml": (
        "# A result of my own\ndefaults:\n  - override /model: net\ntrainer:\n  epochs: 1\n"
    ),
    "experiments/amp_off.yaml": "# Off is a switch to YAML\ntrainer:\n  amp: off\n",
    "experiments/bad/misspelt.yaml": "# Misspelt\ntrainer:\n  epohcs: 1\n",
    "experiments/bad/flat.yaml": "# With a dot\ntrainer.epochs: 1\n",
    "experiments/circle.yaml": "# x\ndefaults:\n  - round\n",
    "experiments/round.yaml": "# x\ndefaults:\n  - circle\n",
    "experiments/bad/top.yaml": "# Misspelt\ntrainr:\n  epochs: 1\n",
    "experiments/bad/wrong_type.yaml": "# Wrong type\ntrainer:\n  epochs: many\n",
    "experiments/bad/scalar.yaml": "# Not a mapping\ntrainer: 3\n",
    "experiments/bad/option.yaml": "# No option\ndefaults:\n  - override /model: cnnn\n",
    "experiments/bad/group.yaml": "# No group\ndefaults:\n  - override /modle: cnn\n",
    "experiments/bad/twice.yaml": "# Without override\ndefaults:\n  - /model: mlp\n",
    "experiments/bad/argument.yaml": "# Misspelt\nmodel:\n  hiden: [3]\n",
    "experiments/bad/value.yaml": "# Out of range\noptimizer:\n  lr: -1\n",
    "experiments/bad/unclosed.yaml": "# Not YAML\ntrainer:\n  epochs: [1\n",
    "experiments/bad/tabs.yaml": "# Not YAML\ntrainer:\n\tepochs: 1\n",
    "experiments/bad/list.yaml": "# A list\n- 1\n",
    "experiments/bad/orphan.yaml": "# x\ndefaults:\n  - parent\n",
    "experiments/bad/slash.yaml": "# x\ndefaults:\n  - override model: net\n",
    "experiments/bad/mapping.yaml": "# x\ndefaults:\n  override /model: net\n",
    "experiments/bad/header.yaml": "# @package trainer\nepochs: 1\n",
    "experiments/bad/number.yaml": "# x\ndefaults:\n  - 3\n",
    "experiments/bad/empty.yaml": "# x\ntrainer:\n  epochs: ${}\n",
    "experiments/bad/zero.yaml": "# x\ntrainer: \0\n",
    "configs/model/number.yaml": "# x\ndefaults: [3]\n_target_: mine.Net\n",
    "configs/model/zero.yaml": "# x\n\n_target_: \0\n",
    "more/bare.yaml": "model:\n  _target_: mine.Net\n",
    "experiments/bad/latin.yaml": "# Latin 1\n# caf\xe9\ntrainer:\n  epochs: 1\n",
}


@dataclass(frozen=True)
class Done:
    """Args: status: exit status; out, err: what was printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with models, options and experiments of its own."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", os.getcwd())])
    for module in (Path(name).stem for name in FILES if "/" not in name):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """`trainkit ...` in this process."""
    capsys.readouterr()
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return Done(status, out, err)


def environment() -> dict[str, str]:
    """Of a process that finds this checkout's trainkit."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def process(*arguments: str) -> Done:
    """`python -m trainkit ...` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "trainkit", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)
