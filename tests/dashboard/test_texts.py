import json
from pathlib import Path

import torch
from torch import nn

from trainkit.dashboard.model_table import model_table, output_shapes
from trainkit.dashboard.texts import OUTCOME, ending_text, starting_texts


def test_texts_come_in_the_order_of_their_importance(tmp_path: Path) -> None:
    (tmp_path / "overrides.txt").write_text("optimizer.lr=0.1\n")
    (tmp_path / "git.txt").write_text("commit abc\n")
    (tmp_path / "git.diff").write_text("+1")
    (tmp_path / "environment.json").write_text(
        json.dumps({"command": ["trainkit", "run"], "packages": {"torch": "2"}, "python": "3.11"})
    )
    texts = starting_texts(tmp_path, "a: 1", "the model")
    assert sorted(texts)[0] == OUTCOME
    assert [tag.split("_")[1] for tag in sorted(texts)] == [
        "outcome", "command", "code", "environment", "model", "config",
    ]  # fmt: skip
    assert "trainkit run" in texts["about/2_command"]
    assert "optimizer.lr=0.1" in texts["about/2_command"]
    assert "uncommitted" in texts["about/3_code"]
    assert texts["about/6_config"] == "```yaml\na: 1\n```"


def test_a_run_without_these_files_has_the_other_texts(tmp_path: Path) -> None:
    assert set(starting_texts(tmp_path, "", "m")) == {OUTCOME, "about/5_model"}


def test_a_fence_in_the_config_ends_no_block(tmp_path: Path) -> None:
    text = starting_texts(tmp_path, "a: |\n  ```\n  x", "m")["about/6_config"]
    assert text.startswith("````yaml")
    assert text.endswith("````")


def test_the_end_says_how_and_why_first() -> None:
    text = ending_text(
        "diverged", "the loss is NaN since iteration 3", alarms=["look\nhere"],
        values={"last": {"validation": {"loss": 0.5}}, "test": {"test": {}}},
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[0] == "**Diverged:** the loss is NaN since iteration 3"
    assert "- look here" in lines
    assert lines[-1] == "| last | validation | loss 0.5 |"


def test_shapes_and_parameters_of_modules_and_no_hook_left() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.LSTM(3, 4, batch_first=True)
            self.unused = nn.Linear(5, 6).requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))[0]

    model, shapes = Two(), {}
    with output_shapes({"model": model}, shapes):
        model(torch.zeros(7, 5, 2))
    assert not any(module._forward_hooks for module in model.modules())
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in model_table({"model": model}, shapes).splitlines()[4:]
    ]
    total = sum(p.numel() for p in model.parameters())
    assert rows[0] == ["(model)", "Two", "[7, 5, 4]", f"{total:,}"]
    assert rows[1] == ["a", "Linear", "[7, 5, 3]", "9"]
    assert rows[2][2] == "[7, 5, 4], [1, 7, 4], [1, 7, 4]"
    assert rows[3] == ["unused", "Linear", "", "36"]
