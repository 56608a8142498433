"""The page CUSTOM SCALARS: one layout for all runs, a category per question."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.dashboard.event_folder import write_events

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["CATEGORIES", "Band", "Category", "Lines", "layout_summary", "write_layout"]


@dataclass(frozen=True)
class Lines:
    """A chart of lines.

    Args:
        title: What it shows and what is healthy; TensorBoard has no other place to say so.
        tags: Regular expressions, matched from the beginning of a tag. TensorBoard colours by
            run, so more than two tags in a chart cannot be told apart.
    """

    title: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Band:
    """A chart of one line and a shaded range.

    Args:
        title: As in `Lines`.
        value: Tag of the line, exactly.
        lower: Tag of the lower limit: at every step of the line.
        upper: Tag of the upper limit.
    """

    title: str
    value: str
    lower: str
    upper: str


@dataclass(frozen=True)
class Category:
    """Charts that answer one question.

    Args:
        question: The title.
        charts: In their order. TensorBoard shows a `Band` behind all `Lines`.
        closed: Whether it is folded at first: TensorBoard asks for data of open charts only.
    """

    question: str
    charts: tuple[Lines | Band, ...]
    closed: bool = False


# With several optimizers their name stands behind the section: `updates/generator/...`.
_ANY = "(?:[^/]+/)?"

CATEGORIES = (
    Category(
        "1. Is it learning?",
        (
            Lines("Loss: should fall; train and validation should stay together", ("loss/total$",)),
            Lines("Metrics of whole data sets", (r"metrics/(?!loss$)[^/]+$",)),
            Lines("Loss of whole data sets, train and validation alike", ("metrics/loss$",)),
            Lines("Parts of the loss, weighted; they add up to it", (r"loss/(?!total$).+$",)),
        ),
    ),
    Category(
        "2. Are the steps the right size?",
        (
            Lines(
                "log10 of update / weight, per optimizer: about -3",
                (f"updates/{_ANY}log10_global_ratio$",),
            ),
            Band(
                "log10 of update / weight: usual between -4 and -2 (shaded)",
                "updates/log10_global_ratio",
                "tensors/log10_update_ratio_usual_min",
                "tensors/log10_update_ratio_usual_max",
            ),
        ),
    ),
    Category(
        "3. Are the gradients sound?",
        (
            Lines(
                "log10 of the gradient norm, before (raw) and after clipping",
                (f"gradients/{_ANY}log10_global_norm_raw$", f"gradients/{_ANY}log10_global_norm$"),
            ),
            Lines(
                "Clipped? 1 = yes; smooth it to see the share of steps",
                (f"gradients/{_ANY}clipped$",),
            ),
            Lines("NaN and infinite elements: healthy is 0", (f"gradients/{_ANY}non_finite$",)),
            Lines("Steps that the loss scaler skipped: 1 = skipped", (f"updates/{_ANY}skipped$",)),
        ),
        closed=True,
    ),
    Category(
        "4. What does it predict?",
        (
            Lines(
                "Entropy of predicted classes: 1 = guessing, 0 = certain",
                ("predictions/entropy_normalized$",),
            ),
            Lines("Confidence of predicted classes", ("predictions/confidence$",)),
            Lines(
                "Regression: spread of predictions and of targets, should meet",
                ("predictions/std$", "targets/std$"),
            ),
            Lines("Regression: mean of the residuals, healthy is near 0", ("residuals/mean$",)),
            Lines(
                "Calibration error: confidence against accuracy, healthy is near 0",
                ("predictions/expected_calibration_error$",),
            ),
        ),
        closed=True,
    ),
    Category(
        "5. Which layers are dead, vanishing, exploding?",
        (
            Lines("Share of dead units, worst layer", ("tensors/dead_fraction_max$",)),
            Lines("Share of saturated outputs, worst layer", ("tensors/saturated_fraction_max$",)),
            Lines(
                "log10 of the smallest and of the largest gradient norm",
                (
                    f"tensors/{_ANY}log10_gradient_norm_min$",
                    f"tensors/{_ANY}log10_gradient_norm_max$",
                ),
            ),
        ),
        closed=True,
    ),
    Category(
        "6. What moved?",
        (
            Lines("Learning rate", (r"hyperparameters/(?:.+/)?lr$",)),
            Lines(
                "Everything else that is scheduled",
                (r"hyperparameters/(?!(?:.+/)?(?:log10_)?lr$).+$",),
            ),
        ),
        closed=True,
    ),
    Category(
        "7. What does it cost?",
        (
            Lines("Samples per second", ("throughput/samples_per_second$",)),
            Lines("Share of the time that waits for data", ("throughput/data_wait_fraction$",)),
            Lines("Memory, MiB", (r"memory/.+_mib$",)),
            Lines("Share of the time that the monitoring takes", ("monitor/overhead_fraction$",)),
        ),
        closed=True,
    ),
)  # fmt: skip


def layout_summary() -> "Summary":
    """The layout as TensorBoard reads it: the same bytes in every run.

    TensorBoard joins the layouts of all runs, and loses charts where they differ.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    layout = layout_pb2.Layout()
    for category in CATEGORIES:
        into = layout.category.add(title=category.question, closed=category.closed)
        for chart in category.charts:
            if isinstance(chart, Lines):
                into.chart.add(title=chart.title).multiline.tag.extend(chart.tags)
            else:
                into.chart.add(title=chart.title).margin.series.add(
                    value=chart.value, lower=chart.lower, upper=chart.upper
                )
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()])
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=metadata.create_summary_metadata()
    )
    return Summary(value=[value])


def write_layout(folder: Path) -> Path:
    """Write the layout into a folder of event files, before its writer is opened.

    Args:
        folder: One that has series anyhow, `train/`: a folder of its own is a row of its own in
            every list of runs.

    Returns:
        The event file.

    Raises:
        OSError: It cannot be written.
    """
    return write_events(folder, [(0, layout_summary())], session_start=0)
