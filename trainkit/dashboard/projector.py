"""The page PROJECTOR: samples as points; similar embeddings are near each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPRITE_SIDE", "write_projector"]

# TensorBoard takes one picture of all thumbnails, of at most 8,192 pixels a side.
SPRITE_SIDE = 8192


def write_projector(
    folder: Path,
    embeddings: NDArray[np.float32],
    labels: Sequence[str],
    thumbnails: NDArray[np.uint8] | None = None,
) -> None:
    """Write embeddings, labels and thumbnails as the projector reads them.

    Args:
        folder: One that has series anyhow, `train/`. `projector_config.pbtxt` is written there,
            and the data beside it in `projector/`.
        embeddings: One row per sample, `[N, D]`.
        labels: One per sample.
        thumbnails: Grey `[N, H, W]` or coloured `[N, H, W, 3]`; None: points have no picture.

    Raises:
        OSError: They cannot be written.
    """
    from google.protobuf import text_format
    from PIL import Image
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    inside = folder / "projector"
    inside.mkdir(parents=True, exist_ok=True)
    np.savetxt(inside / "tensors.tsv", embeddings, delimiter="\t", fmt="%.6g")
    lines = "".join(f"{' '.join(label.split())}\n" for label in labels)
    (inside / "labels.tsv").write_text(lines, encoding="utf-8")
    config = ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="penultimate layer",
        tensor_path="projector/tensors.tsv",
        metadata_path="projector/labels.tsv",
    )
    if thumbnails is not None:
        height, width = thumbnails.shape[1:3]
        columns = int(np.ceil(np.sqrt(len(thumbnails))))
        if columns * max(height, width) <= SPRITE_SIDE:
            Image.fromarray(_sheet(thumbnails, columns)).save(inside / "thumbnails.png")
            embedding.sprite.image_path = "projector/thumbnails.png"
            embedding.sprite.single_image_dim.extend((width, height))
    text = text_format.MessageToString(config)
    (folder / "projector_config.pbtxt").write_text(text, encoding="utf-8")


def _sheet(thumbnails: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """All thumbnails in rows of so many, in a square sheet as the projector expects it."""
    n, height, width, *colours = thumbnails.shape
    sheet = np.zeros((columns * columns, height, width, *colours), np.uint8)
    sheet[:n] = thumbnails
    rows = sheet.reshape(columns, columns, height, width, *colours)
    return np.ascontiguousarray(
        rows.swapaxes(1, 2).reshape(columns * height, columns * width, *colours)
    )
