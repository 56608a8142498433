"""The models of the shipped experiments: shapes, sizes, causality, sampling."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainkit.data import Data
from trainkit.models import (
    CNN,
    MLP,
    DCGANDiscriminator,
    DCGANGenerator,
    Transformer,
    sample_text,
)


def small_transformer(**options: Any) -> Transformer:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocabulary": 11, "length": 8, "layers": 2, "width": 16, "heads": 2}
    return Transformer(**{**sizes, **options})


def test_an_mlp_is_what_its_equations_say() -> None:
    torch.manual_seed(0)
    model = MLP(in_features=6, out_features=3, hidden=[5, 4], activation="tanh")
    x = torch.randn(7, 2, 3)
    weights = dict(model.named_parameters())
    h = x.reshape(7, 6)
    for number in (1, 2):
        h = (h @ weights[f"linear_{number}.weight"].T + weights[f"linear_{number}.bias"]).tanh()
    expected = h @ weights["output.weight"].T + weights["output.bias"]
    torch.testing.assert_close(model(x), expected)
    assert len(weights) == 6


@pytest.mark.parametrize("hidden", [[], [3]])
def test_an_mlp_takes_flat_rows_too(hidden: list[int]) -> None:
    assert MLP(4, 2, hidden)(torch.ones(5, 4)).shape == (5, 2)


@pytest.mark.parametrize("kind", [MLP, CNN])
def test_a_model_may_end_in_probabilities(kind: type[nn.Module]) -> None:
    options: dict[str, Any] = {"in_features": 64, "out_features": 10} if kind is MLP else {}
    x = torch.randn(5, 1, 8, 8)
    ends = {}
    for output in (None, "log_softmax", "softmax", "sigmoid"):
        torch.manual_seed(0)
        ends[output] = kind(**options, output=output).eval()(x)
    logits = ends[None]
    torch.testing.assert_close(ends["softmax"], logits.exp() / logits.exp().sum(1, keepdim=True))
    torch.testing.assert_close(ends["log_softmax"].exp(), ends["softmax"])
    torch.testing.assert_close(ends["sigmoid"], 1 / (1 + (-logits).exp()))


@pytest.mark.parametrize(
    ("channels", "image_size"), [([4], 8), ([4, 8], 8), ([4, 4, 4], 8), ([4], 28), ([], 5)]
)
def test_a_cnn_fits_the_image(channels: list[int], image_size: int) -> None:
    model = CNN(classes=3, image_size=image_size, in_channels=2, channels=channels, hidden=6)
    assert model(torch.zeros(2, 2, image_size, image_size)).shape == (2, 3)


@pytest.mark.parametrize(
    ("channels", "image_size"), [([4], 8), ([8, 4], 8), ([8, 8, 4], 24), ([4, 4], 4)]
)
def test_a_dcgan_makes_and_judges_images_of_its_size(channels: list[int], image_size: int) -> None:
    torch.manual_seed(0)
    generator = DCGANGenerator(5, image_size, channels, out_channels=3)
    discriminator = DCGANDiscriminator(image_size, channels[::-1], in_channels=3).eval()
    images = generator(3 * torch.randn(7, 5)).detach()
    assert images.shape == (7, 3, image_size, image_size)
    assert float(images.abs().max()) <= 1
    logits = discriminator(images)
    assert logits.shape == (7,)
    # No image is judged by the others of its batch; a batch of one is one.
    torch.testing.assert_close(discriminator(images[:1]), logits[:1])
    for module in [*generator, *discriminator]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 300:
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_dropout_is_for_training_only() -> None:
    for model in (MLP(64, 10, dropout=0.5), CNN(dropout=0.5)):
        x = torch.randn(4, 1, 8, 8)
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_the_transformer_of_charlm_has_the_size_that_overhead_is_measured_on() -> None:
    model = Transformer(vocabulary=97, length=64)
    parameters = list(model.parameters())
    assert len(parameters) == 150
    assert 2.3e6 < sum(p.numel() for p in parameters) < 2.5e6


def test_a_transformer_does_not_look_ahead() -> None:
    model = small_transformer().eval()
    x = torch.randint(11, (3, 8))
    before = model(x)
    for position in range(8):
        changed = x.clone()
        changed[:, position] = (changed[:, position] + 1) % 11
        difference = (model(changed) - before).abs().amax((0, 1))
        assert torch.all(difference[:position] == 0)
        assert torch.all(difference[position:] > 0)


def test_a_new_transformer_knows_nothing() -> None:
    model = Transformer(vocabulary=97, length=64)
    x = torch.randint(97, (4, 64))
    y = torch.randint(97, (4, 64))
    loss = nn.functional.cross_entropy(model(x), y)  # classes in dimension 1
    assert abs(loss.item() - math.log(97)) < 0.1


def test_a_transformer_takes_no_more_than_it_can_see() -> None:
    model = small_transformer()
    assert model(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 11, 3)
    with pytest.raises(ValueError, match=r"model.length=8 positions, got 9"):
        model(torch.zeros(1, 9, dtype=torch.int64))


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (MLP, {"in_features": 0}, ValueError, "model.in_features must be 1 or more, got 0"),
        (MLP, {"out_features": -1}, ValueError, "model.out_features must be 1 or more, got -1"),
        (MLP, {"hidden": [8, 0]}, ValueError, "model.hidden must be 1 or more, got 0"),
        (MLP, {"hidden": [1.5]}, TypeError, "model.hidden must be an integer, got 1.5"),
        (MLP, {"hidden": 32}, TypeError, r"model.hidden must be a list of sizes, got 32"),
        (MLP, {"activation": "rely"}, ValueError, "model.activation must be one of .*'rely'"),
        (MLP, {"dropout": 1.0}, ValueError, r"model.dropout must be a share in \[0, 1\), got 1.0"),
        (MLP, {"output": "logsoftmax"}, ValueError, "model.output must be one of .*'logsoftmax'"),
        (CNN, {"channels": [4] * 4}, ValueError, "4 blocks, .* can be halved 3 times"),
        (CNN, {"channels": 4}, TypeError, "model.channels must be a list of sizes, got 4"),
        (CNN, {"classes": 0}, ValueError, "model.classes must be 1 or more, got 0"),
        (DCGANGenerator, {"latent": 0}, ValueError, "model.generator.latent must be 1 or more"),
        (DCGANGenerator, {"channels": []}, ValueError, "one or more halvings of .*; got 0"),
        (DCGANGenerator, {"image_size": 10}, ValueError, "image_size=10, .* got 2"),
        (DCGANDiscriminator, {"channels": [4] * 4}, ValueError, "image_size=8, .* got 4"),
        (DCGANDiscriminator, {"dropout": 1}, ValueError, "model.discriminator.dropout"),
        (Transformer, {"heads": 3}, ValueError, "multiple of model.heads=3, got 16"),
        (Transformer, {"layers": 0}, ValueError, "model.layers must be 1 or more, got 0"),
        (Transformer, {"dropout": -0.1}, ValueError, "model.dropout"),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    kind: type[nn.Module], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    needed: dict[Any, dict[str, Any]] = {
        MLP: {"in_features": 4, "out_features": 2},
        CNN: {},
        DCGANGenerator: {},
        DCGANDiscriminator: {},
        Transformer: {"vocabulary": 5, "length": 4, "width": 16},
    }
    with pytest.raises(error, match=message):
        kind(**{**needed[kind], **options})


# --- Sampling --------------------------------------------------------------------------------


class Successor(nn.Module):
    """Certain that after class c comes class c + 1, and sees how much it was shown."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.shapes: set[tuple[int, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.add(tuple(x.shape))
        following = nn.functional.one_hot((x + 1) % self.classes, self.classes)
        return 100.0 * following.transpose(1, 2)


LETTERS = Data(train=[0], classes=tuple("abcd\n"))
CPU = torch.device("cpu")


def test_text_is_drawn_character_by_character() -> None:
    model = Successor(5)
    text = sample_text(model, LETTERS, CPU, context=3, prompt="b", length=7)
    assert text == "    bcd\n    abcd"
    assert model.shapes == {(1, 3)}


def test_text_follows_the_probabilities() -> None:
    data = Data(train=[0], classes=tuple("abcd"))

    def share(temperature: float) -> float:
        text = sample_text(
            Biased(), data, CPU, context=2, prompt="b", length=2000, temperature=temperature
        )
        return text.count("a") / 2000

    assert abs(share(1.0) - 3 / 6) < 0.04
    assert abs(share(0.5) - 9 / 12) < 0.04


class Biased(nn.Module):
    """Finds class 0 three times as likely as each of the three others."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([3.0, 1.0, 1.0, 1.0]).log()[None, :, None].expand(1, 4, x.shape[1])


def test_text_does_not_depend_on_padding() -> None:
    """What a full forward pass over the text alone gives is what it was drawn from."""
    model = small_transformer(vocabulary=5).eval()
    made = sample_text(model, LETTERS, CPU, context=8, prompt="abc", length=5, temperature=1e-6)
    characters = [
        LETTERS.classes.index(c) for c in "\n".join(line[4:] for line in made.split("\n"))
    ]
    for end in range(3, 8):
        logits = model(torch.tensor([characters[:end]]))[0, :, -1]
        assert int(logits.argmax()) == characters[end]


def test_sampling_leaves_no_trace() -> None:
    model = small_transformer(vocabulary=5).eval()
    before = torch.get_rng_state()
    first = sample_text(model, LETTERS, CPU, context=8, prompt="a", length=20)
    assert torch.equal(torch.get_rng_state(), before)
    assert sample_text(model, LETTERS, CPU, context=8, prompt="a", length=20) == first
    assert sample_text(model, LETTERS, CPU, context=8, prompt="a", length=20, seed=1) != first
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompt": "xyz"}, ValueError, "all of them in data.classes, got 'xyz'"),
        ({"prompt": ""}, ValueError, "the prompt must have characters"),
        ({"temperature": 0.0}, ValueError, "temperature must be greater than 0, got 0.0"),
        ({"length": 0}, ValueError, "length must be 1 or more, got 0"),
        ({"context": 0}, ValueError, "context must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_sampled_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sample_text(Successor(5), LETTERS, CPU, **{"context": 4, **options})
