"""What the dashboard says about a run, and that asking for it changes nothing of the run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import Tensor, nn

from tests.training.parts import FULL, cases, go, weights
from tests.writers.reading import raw_events
from trainkit.rundir import read_status
from trainkit.settings import MonitorSettings, TrainerSettings
from trainkit.training.embeddings import embeddings_of, thumbnails_of

ASKED = MonitorSettings(every=1, graph=True, projector=True)


def test_graph_and_projector_change_no_weight(tmp_path: Path) -> None:
    plain = go(tmp_path / "plain", monitor=FULL)
    asked = go(tmp_path / "asked", monitor=ASKED)
    assert not asked.disabled
    assert torch.equal(weights(plain), weights(asked))


def test_the_graph_stands_in_a_file_before_the_series(tmp_path: Path) -> None:
    go(tmp_path, monitor=ASKED)
    files = sorted((tmp_path / "train").glob("*tfevents*"))
    graphs = [[e.graph_def for e in raw_events(path) if e.graph_def] for path in files]
    (at,) = (i for i, found in enumerate(graphs) if found)
    assert at < len(files) - 1
    assert any("Linear" in node.name for node in GraphDef.FromString(graphs[at][0]).node)


def test_the_projector_has_what_the_last_layer_gets(tmp_path: Path) -> None:
    result = go(tmp_path, monitor=ASKED)
    folder = tmp_path / "train"
    text = (folder / "projector_config.pbtxt").read_text()
    (embedding,) = text_format.Parse(text, ProjectorConfig()).embeddings
    found = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
    x, y = cases(50, 2)  # of the validation data
    model = result.models["model"].eval()
    expected = model[:-1](x).detach().numpy()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    labels = (folder / embedding.metadata_path).read_text().splitlines()
    assert labels == [str(int(label)) for label in y]


def test_what_cannot_be_traced_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not with me")
            return self.layer(x)

    result = go(tmp_path, model=Untraceable(), monitor=ASKED)
    assert list(result.disabled) == ["monitor.graph"]
    assert read_status(tmp_path / "run.json")["status"] == "completed"


def test_embeddings_are_those_of_the_layer_that_is_called_last() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu())

    model, x = Two(), torch.randn(10, 4)
    batches = [(x[:6], torch.zeros(6)), (x[6:], torch.ones(4))]
    found = embeddings_of(model, batches, torch.device("cpu"), limit=8)
    assert found.values == pytest.approx(model.first(x).relu()[:8].detach().numpy())
    assert found.targets is not None
    assert found.targets.tolist() == [0] * 6 + [1] * 2
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 1, 8, 8), (5, 8, 8)), ((5, 3, 8, 4), (5, 8, 4, 3)), ((5, 8, 8), (5, 8, 8))],
)
def test_images_become_thumbnails(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = thumbnails_of(torch.rand(shape) * 5 - 2)
    assert found is not None
    assert found.shape == expected
    assert (found.min(), found.max()) == (0, 255)


def test_other_samples_have_no_thumbnails() -> None:
    assert thumbnails_of(torch.rand(5, 7)) is None
    assert thumbnails_of(torch.rand(5, 2, 8, 8)) is None


def test_a_run_that_diverged_says_so_in_plain_words(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from trainkit.losses import Losses

    def explode(y_pred: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(y_pred, y) * torch.nan

    go(
        tmp_path, monitor=FULL, loss=Losses({"bad": {"loss": explode}}),
        trainer=TrainerSettings(epochs=1, progress_bar=False, on_non_finite="warn"),
    )  # fmt: skip
    found = EventAccumulator(str(tmp_path / "train")).Reload()
    text = found.Tensors("about/1_outcome")[-1].tensor_proto.string_val[0].decode()
    assert text.startswith("**Diverged:** ")
    assert "lower the learning rate" in text
