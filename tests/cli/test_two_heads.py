"""A project with two inputs and two heads, and a table in a file, as a user has them."""

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.cli.project import ROOT, call
from tests.writers.reading import raw_scalars
from trainkit.rundir import load_checkpoint, read_status

EXAMPLE = ROOT / "examples" / "two_heads"
SHORT = ("trainer.epochs=2", "trainer.progress_bar=false", "hydra.run.dir=run")


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, copied; its module importable as in a process of its own."""
    project = tmp_path / "two_heads"
    shutil.copytree(EXAMPLE, project)
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project)
    return project


def test_the_numbers_of_both_heads(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "+experiment=flowers", "monitor.every=1", *SHORT)
    assert done.status == 0, done.err
    import flowers as module  # type: ignore[import-not-found]

    status = read_status(flowers / "run" / "run.json")
    model = module.Flowers()
    last = load_checkpoint(flowers / "run" / "checkpoints" / "last.pt")
    model.load_state_dict(last["models"]["model"])
    rows = module.flowers().validation.rows
    with torch.no_grad():
        y_pred = model.eval()(rows)
    kind = float(F.cross_entropy(y_pred["kind"], rows["kind"]))
    length = float(F.mse_loss(y_pred["length"], rows["length"].unsqueeze(1)))
    right = float((y_pred["kind"].argmax(1) == rows["kind"]).float().mean())
    error = float((y_pred["length"][:, 0] - rows["length"]).abs().mean())
    assert status["last"]["validation"] == pytest.approx(
        {
            "loss": kind + length, "loss/kind": kind, "loss/length": length,
            "kind_accuracy": right, "length_error": error,
        },
        rel=1e-4,
    )  # fmt: skip
    found = raw_scalars(flowers / "run" / "validation")
    for tag, value in (
        ("loss/kind", kind), ("loss/length", length), ("loss/total", kind + length),
        ("metrics/kind_accuracy", right), ("metrics/length_error", error),
    ):  # fmt: skip
        assert found[tag][-1][1] == pytest.approx(value, rel=1e-4), tag
    train = raw_scalars(flowers / "run" / "train")
    assert {"loss/kind", "loss/length", "loss/total", "throughput/samples_per_second"} <= set(train)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.components.kind.loss.head=sort", "y_pred has no head 'sort', but kind, length"),
        ("metrics.kind_accuracy.output_transform.head=sort", "metrics.kind_accuracy"),
        ("engine=supervised", "a batch must be a pair (x, y), got dict"),
        ("model.kinds=1", "head 'kind', float32 [32, 1] with target int64 [32]: Target "),
    ],
)
def test_what_does_not_fit_is_one_line(
    override: str, message: str, flowers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "+experiment=flowers", override, *SHORT)
    assert done.status == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("trainkit: ")]
    assert message in line
    assert not (flowers / "run").exists()


def test_a_table_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},{i % 7},{'ab'[i % 2]},{3 * (i % 7) + i % 2}" for i in range(100)]
    Path("t.csv").write_text("\n".join(["id,size,kind,price", *rows]))
    table = ("data=csv", "data.path=t.csv", "data.exclude=[id]", "model=mlp_for_data")
    done = call(
        capsys, "run", *table, "data.target=price", "data.task=regression", "loss=mse",
        "metrics=regression", "optimizer.lr=0.01", *SHORT[1:], "trainer.epochs=20",
        "handlers=early_stopping",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert read_status(Path("run") / "run.json")["test"]["r2"] > 0.9
    for overrides, message in (
        (("data.target=prise", "data.task=regression"), "has no column 'prise'; nearest: price"),
        (("data.target=price",), "data.task has no value; set it: data.task=..."),
        (("data.target=kind", "data.task=regression"), "column 'kind' is no column of numbers"),
        (
            ("data.path=s.csv", "data.target=kind", "data.task=binary"),
            "no file 's.csv'; nearest: t",
        ),
    ):
        done = call(capsys, "run", *table, *overrides, "hydra.run.dir=other")
        assert done.status == 2
        assert message in done.err
