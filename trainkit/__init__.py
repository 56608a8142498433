"""Training monitoring for PyTorch: right numbers, undisturbed training, a cost you allow.

The handlers and writers work in any Ignite project:

    from trainkit import attach_monitors

    attach_monitors(trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer="runs/mine")

Every public name can be imported from here. The names are listed in `__init__.pyi`; each is loaded
on first use, so that `import trainkit` is quick.
"""

from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("trainkit")
    if name not in __all__:
        raise AttributeError(f"module 'trainkit' has no attribute {name!r}")
    return _load(name)
