"""Messages for predictions that are not what a loss expects."""

from torch import Tensor

__all__ = ["looks_wrong", "no_scores"]


def looks_wrong(form: str) -> str:
    """What to say where predictions cannot be of this form."""
    if form.endswith("logits"):
        found = "look like probabilities (after a softmax or sigmoid), where logits are expected"
    else:
        kind = form.replace("_", " ")
        found = f"cannot be {kind}: they are out of range, or do not add up to 1"
    return (
        f"predictions {found}; a loss, entropy and calibration made of them are left out: return "
        "what the loss takes, or say what they are (predictions=... or loss_fn.predictions=...)"
    )


def no_scores(y_pred: Tensor) -> str:
    """What to say of predictions that are integers."""
    return (
        f"the predictions are {str(y_pred.dtype).removeprefix('torch.')}, class indices perhaps; "
        "return what the loss takes"
    )
