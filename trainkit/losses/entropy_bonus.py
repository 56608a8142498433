"""A reward for undecided predictions, as a component of a loss."""

import torch
from torch import Tensor, nn

__all__ = ["EntropyBonus"]

_KINDS = ("logits", "log_probabilities", "probabilities", "binary_logits", "binary_probabilities")


class EntropyBonus(nn.Module):
    """Minus the mean entropy of the predictions, so that a positive weight rewards entropy.

    −H = mean over everything but classes of sum over classes c of p_c · ln p_c, in nats, with
    0 · ln 0 = 0.

    Args:
        predictions: What `y_pred` holds: `logits`, `log_probabilities` or `probabilities` with
            the classes in dimension 1 (shape `[N, C, ...]`), or `binary_logits` or
            `binary_probabilities`, where every element is one yes-or-no decision.

    Raises:
        ValueError: `predictions` is none of these, or `y_pred` has no class dimension.

    Example:
        >>> EntropyBonus("probabilities")(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        tensor(-0.3466)
    """

    pure = True  # calling it changes nothing: monitors may

    def __init__(self, predictions: str = "logits") -> None:
        super().__init__()
        if predictions not in _KINDS:
            raise ValueError(
                f"EntropyBonus.predictions must be one of {', '.join(_KINDS)}, got {predictions!r}"
            )
        self.predictions = predictions

    def forward(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor:
        """Minus the mean entropy, 0-d; the target is ignored."""
        del y
        if self.predictions == "binary_logits":
            log_p = nn.functional.logsigmoid(torch.stack([y_pred, -y_pred], 1))
            return (log_p.exp() * log_p).sum(1).mean()
        if self.predictions == "binary_probabilities":
            return _p_log_p(torch.stack([y_pred, 1 - y_pred], 1)).sum(1).mean()
        if y_pred.ndim < 2:
            raise ValueError(
                "EntropyBonus needs the classes in dimension 1 (shape [N, C, ...]), got shape "
                f"{list(y_pred.shape)}; for one logit per sample say predictions=binary_logits"
            )
        if self.predictions == "probabilities":
            return _p_log_p(y_pred).sum(1).mean()
        log_p = y_pred.log_softmax(1) if self.predictions == "logits" else y_pred
        log_p = log_p.clamp_min(torch.finfo(log_p.dtype).min)  # 0 · (−inf) would be NaN
        return (log_p.exp() * log_p).sum(1).mean()


def _p_log_p(p: Tensor) -> Tensor:
    # The clamp keeps 0 · ln 0 and its gradient finite.
    return p * p.clamp_min(torch.finfo(p.dtype).tiny).log()
