"""The pages of TensorBoard that answer a question at first look, as addresses."""

import json
from dataclasses import dataclass
from urllib.parse import quote

from trainkit.dashboard.contents import Contents

__all__ = ["Page", "pages", "pinned"]

# Beyond so many rows TensorBoard selects none, on all pages but TIME SERIES and HPARAMS.
_MOST_ROWS = 40
# All rows of a run have the colour of its folder.
_BY_RUN = quote("regex:^(.*)/(?:train|validation|test)$")

# Pinned cards, in this order: from each line the first tag that exists.
_TRAINING = (
    ("loss/total",),
    ("gradients/log10_global_norm_raw", "gradients/log10_global_norm"),
    ("updates/log10_global_ratio",),
    ("hyperparameters/log10_lr", "hyperparameters/lr"),
    ("predictions/entropy_normalized", "predictions/entropy", "residuals/std"),
    ("throughput/samples_per_second",),
)
_EVALUATION = (
    ("loss/total", "metrics/loss"),
    ("predictions/entropy_normalized", "predictions/entropy", "residuals/std"),
    ("predictions/expected_calibration_error",),
)


@dataclass(frozen=True)
class Page:
    """A page and the question that it answers.

    Args:
        question: In a few words.
        address: The URL.
    """

    question: str
    address: str


def pages(address: str, found: Contents) -> list[Page]:
    """The pages for what was found, the one to open first in front.

    Args:
        address: Of the server, `http://127.0.0.1:6006/`.
        found: What the runs hold.
    """
    several = len(found.runs) > 1
    made: list[Page] = []
    if several:
        made.append(
            Page(
                "which run is best",
                _time_series(address, pinned(found, "validation"), "validation$"),
            )
        )
        made.append(
            Page("how each run trains", _time_series(address, pinned(found, "train"), "train$"))
        )
    else:
        made.append(Page("how it trains", _time_series(address, pinned(found, ""), "")))
    narrow = ""
    if len(found.folders) > _MOST_ROWS:
        narrow = "&regexInput=" + quote("validation$" if several else "train$|validation$")
    made.append(
        Page("question by question", f"{address}#custom_scalars&_smoothingWeight=0{narrow}")
    )
    if any(tag.startswith("results/") for tag in found.tags):
        made.append(Page("which choice matters", f"{address}#hparams"))
    if found.images:
        made.append(Page("what it predicts", f"{address}#images{narrow}"))
    texts = narrow.replace("validation", "train")
    made.append(Page("how it ended, and with what it was started", f"{address}#text{texts}"))
    return made


def pinned(found: Contents, part: str) -> list[dict[str, object]]:
    """The cards to pin, as TensorBoard's URL takes them.

    Args:
        found: What the runs hold.
        part: `train` or `validation`: only what is written there; empty: whatever is written.
    """
    tags = {
        tag
        for tag, folders in found.tags.items()
        if not part or any(folder.split("/")[-1] == part for folder in folders)
    }
    cards: list[dict[str, object]] = []
    if not part or part == "train":
        cards += _generated(found)
    wanted = _EVALUATION if part == "validation" else _TRAINING
    chosen = [tag for choice in wanted for tag in _first_of(choice, tags)]
    main = _main_metric(found, tags)
    if main is not None:
        chosen.insert(1, main)
    return cards + [{"plugin": "scalars", "tag": tag} for tag in dict.fromkeys(chosen)]


def _first_of(choice: tuple[str, ...], tags: set[str]) -> list[str]:
    """The first of these tags that there is; with several optimizers, that of each."""
    for tag in choice:
        section, _, rest = tag.partition("/")
        several = sorted(
            t for t in tags if t.startswith(f"{section}/") and t.endswith(f"/{rest}") and t != tag
        )
        if tag in tags or several:
            return [tag] if tag in tags else several[:3]
    return []


def _main_metric(found: Contents, tags: set[str]) -> str | None:
    """What the best checkpoint is chosen by; where that is the loss, the first other metric."""
    chosen = sorted(f"metrics/{name}" for name in found.metrics if name != "loss")
    others = sorted(t for t in tags if t.startswith("metrics/") and t != "metrics/loss")
    return next((tag for tag in [*chosen, *others] if tag in tags), None)


def _generated(found: Contents) -> list[dict[str, object]]:
    """The newest generated pictures, of one run: a card shows one run's."""
    for tag, folders in sorted(found.images.items()):
        if tag.startswith("generated/"):
            run = f"defaultExperimentId/{sorted(folders)[0]}"
            return [{"plugin": "images", "tag": tag, "runId": run, "sample": 0}]
    return []


def _time_series(address: str, cards: list[dict[str, object]], runs: str) -> str:
    parts = [f"pinnedCards={quote(json.dumps(cards, separators=(',', ':')))}", "smoothing=0"]
    if runs:
        parts += [f"runFilter={quote(runs)}", f"runColorGroup={_BY_RUN}"]
    return f"{address}?{'&'.join(parts)}#timeseries"
