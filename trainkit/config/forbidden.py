"""What a `_target_` must not be: a config of somebody else's must not run commands or delete files.

Hydra has a longer list of its own and applies it when a node is instantiated; this one names the
key, on one line, before anything is built. Neither makes a config safe that you do not trust: any
other function that is installed may be called.
"""

from collections.abc import Mapping
from typing import Any

from trainkit.config.errors import ConfigError

__all__ = ["check_allowed"]

# Modules of which no function may be called; `os.system` is one of `posix`.
_MODULES = {
    "posix", "nt", "os", "subprocess", "pty", "runpy", "importlib", "ctypes", "_ctypes", "pickle",
    "_pickle", "marshal", "code", "signal", "_signal", "gc", "sys", "shutil", "pdb", "timeit",
    "socket", "_socket", "webbrowser",
}  # fmt: skip
_BUILTINS = {
    "eval", "exec", "compile", "__import__", "open", "exit", "quit", "getattr", "setattr",
    "delattr", "globals", "locals", "vars", "breakpoint", "input", "help",
}  # fmt: skip
# Functions of those modules that only read.
_HARMLESS = {"which", "disk_usage", "cpu_count", "getenv", "getcwd", "getpid", "urandom"}
# Hydra's functions that return what another key names.
_GETTERS = {"get_method", "get_class", "get_object", "get_static_method"}


def check_allowed(target: str, found: Any, node: Mapping[str, Any]) -> None:
    """Refuse what runs commands or code, deletes files, or loads pickles.

    Args:
        target: As written.
        found: The object of this name; what counts is where it really comes from.
        node: With the arguments.

    Raises:
        ConfigError: It is refused.
    """
    module = str(getattr(found, "__module__", None) or "")
    name = str(getattr(found, "__name__", ""))
    if module.startswith("hydra.") and name in _GETTERS:
        path = str(node.get("path", ""))
        top, _, last = path.rpartition(".")
        if _forbidden(top, last):
            raise _refusal(path)
    if _forbidden(module, name):
        raise _refusal(target)


def _forbidden(module: str, name: str) -> bool:
    if module in ("builtins", "io", "_io", "_sitebuiltins"):
        return name in _BUILTINS or module == "_sitebuiltins"
    return module.partition(".")[0] in _MODULES and name not in _HARMLESS


def _refusal(target: str) -> ConfigError:
    return ConfigError(
        f"{target} is refused: a config may not run commands or code, change the system or delete "
        "files; write a function of your own that does what you need"
    )
