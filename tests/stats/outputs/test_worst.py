"""The samples that were predicted worst, against sorting all of them."""

import torch

from trainkit.stats.outputs.worst import Worst, worst_classes, worst_tokens, worst_values


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def joined(parts: list[Worst | None]) -> Worst:
    found = parts[0]
    assert found is not None
    for part in parts[1:]:
        assert part is not None
        found = found + part
        assert len(found.inputs) <= found.most
    return found


def test_classes_with_their_position_probabilities_and_inputs() -> None:
    y_pred, y, x = draw(50, 4), torch.arange(50) % 4, draw(50, 1, 8, 8, seed=1)
    batches = zip(y_pred.split(8), y.split(8), x.split(8), strict=True)
    found = joined([worst_classes(*batch, most=5) for batch in batches])
    p = y_pred.double().softmax(1)
    of_true = p[torch.arange(50), y]
    order = of_true.argsort()[:5]
    assert found.found[:, 0].tolist() == order.tolist()
    assert found.found[:, 1].tolist() == y[order].tolist()
    assert found.found[:, 2].tolist() == p[order].argmax(1).tolist()
    torch.testing.assert_close(found.found[:, 3], p[order].amax(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.found[:, 4], of_true[order], atol=1e-6, rtol=0)
    assert found.inputs.equal(x[order])
    assert found.samples == 50


def test_values_with_the_largest_residuals() -> None:
    y_pred, y, x = draw(50, 1), draw(50, 1, seed=1), draw(50, 3, seed=2)
    batches = zip(y_pred.split(20), y.split(20), x.split(20), strict=True)
    found = joined([worst_values(*batch, most=4) for batch in batches])
    order = (y - y_pred)[:, 0].abs().argsort(descending=True)[:4]
    expected = torch.cat([order[:, None].double(), y[order].double(), y_pred[order].double()], 1)
    assert found.found.equal(expected)
    assert found.inputs.equal(x[order])


def test_what_is_ignored_comes_last_and_nan_first() -> None:
    y_pred, y = torch.zeros(4, 2), torch.tensor([0, -1, 1, 0])
    y_pred[3] = torch.nan
    found = worst_classes(y_pred, y, draw(4, 2), ignore_index=-1, most=4)
    assert found is not None
    assert found.found[0, 0] == 3
    assert found.found[-1, 0] == 1


def test_text_and_inputs_of_another_number_have_none() -> None:
    assert worst_classes(draw(2, 5, 7), torch.zeros(2, 7).long(), draw(2, 7)) is None
    assert worst_classes(draw(4, 5), torch.zeros(4).long(), draw(2, 7)) is None
    assert worst_values(draw(4, 2), draw(4, 2), draw(4, 3)) is None


def test_tokens_with_what_stands_before_them() -> None:
    y_pred, tokens = draw(6, 5, 10), torch.arange(60).view(6, 10)
    y = tokens % 5
    found = joined(
        [
            worst_tokens(*batch, most=4, context=3)
            for batch in zip(y_pred.split(4), y.split(4), tokens.split(4), strict=True)
        ]
    )
    p = y_pred.softmax(1).movedim(1, -1).reshape(60, 5)
    order = p[torch.arange(60), y.flatten()].argsort()[:4]
    assert found.found[:, 0].tolist() == order.tolist()
    assert found.found[:, 1].tolist() == y.flatten()[order].tolist()
    for place, seen in zip(order.tolist(), found.inputs.tolist(), strict=True):
        row, column = divmod(place, 10)
        padded = [-1, -1, *tokens[row].tolist()]
        assert seen == padded[column : column + 3]
    assert worst_tokens(y_pred, y, tokens[:, :3]) is None
