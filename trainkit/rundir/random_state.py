"""The state of every random number generator that a training run draws from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["preserved_random_state", "random_state", "seed_everything", "set_random_state"]


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, the latter on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's generators, as tensors and plain numbers."""
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "name": str(legacy[0]),
            "words": torch.from_numpy(legacy[1].astype(np.int64)),
            "position": int(legacy[2]),
            "has_gauss": int(legacy[3]),
            "gauss": float(legacy[4]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if _cuda_in_use() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `random_state()` returned."""
    python, legacy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(
        (
            legacy["name"],
            legacy["words"].numpy().astype(np.uint32),
            legacy["position"],
            legacy["has_gauss"],
            legacy["gauss"],
        )
    )
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the random state of Python, NumPy and torch on exit."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def _cuda_in_use() -> bool:
    # Reading the state of an unused device would initialize CUDA on it.
    return torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
