"""Errors in a config that the user can fix, as one line."""

import re
from collections.abc import Iterable, Mapping

from trainkit.nearest import closest

__all__ = ["SYNONYMS", "ConfigError", "nearest", "noted", "one_line"]

# Name in other programs → name here.
SYNONYMS = {
    other: ours
    for ours, others in {
        "lr": "learning_rate learningrate rate alpha base_lr initial_lr init_lr",
        "batch_size": "batchsize bs batch train_batch_size per_device_train_batch_size",
        "epochs": "num_epochs max_epochs n_epochs nb_epochs num_train_epochs epoch",
        "max_iterations": "steps max_steps num_steps iterations iters max_iters num_iterations",
        "clip_grad_norm": "gradient_clip_val grad_clip clip max_grad_norm gradient_clipping "
        "grad_norm clip_norm clip_gradients",
        "accumulation_steps": "accumulate_grad_batches gradient_accumulation_steps accumulate "
        "grad_accumulation accumulation",
        "amp": "precision mixed_precision fp16 bf16 autocast",
        "device": "gpu gpus cuda accelerator devices use_cuda",
        "weight_decay": "wd decay",
        "seed": "random_seed manual_seed random_state",
        "validation": "val_split validation_split val_size valid_size valid val val_fraction",
        "test": "test_split test_size test_fraction",
        "every": "log_every log_every_n_steps logging_steps log_interval log_steps interval",
        "evaluate_every": "val_check_interval eval_every eval_steps eval_interval validate_every",
        "hidden": "hidden_size hidden_sizes hidden_dim hidden_dims hidden_layers hidden_units",
        "classes": "num_classes n_classes nb_classes",
        "dropout": "dropout_rate drop_rate p_dropout",
        "betas": "beta1 beta2 beta",
        "warmup_iterations": "warmup warmup_steps warmup_epochs num_warmup_steps",
        "components": "component terms",
        "progress_bar": "progress tqdm bar enable_progress_bar verbose",
        "name": "run_name exp_name experiment_name",
        "width": "d_model embed_dim n_embd hidden_channels",
        "heads": "n_head n_heads num_heads nhead",
        "layers": "n_layer n_layers num_layers depth",
    }.items()
    for other in others.split()
}


class ConfigError(Exception):
    """A mistake in a config; its text is one line that says where it is and what to do."""


def nearest(name: str, options: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest right names, or the choice, or nothing.

    Example:
        >>> nearest("epoch", ["epochs", "seed"])
        '; did you mean epochs?'
        >>> nearest("x", ["epochs", "seed"])
        '; there is epochs, seed'
    """
    # By the last part: `trainer.` in front would make every key there look near.
    names = {option.rpartition(".")[2]: option for option in options}
    last = name.rpartition(".")[2]
    if SYNONYMS.get(last) in names:
        return f"; did you mean {names[SYNONYMS[last]]}?"
    close = [names[part] for part in closest(last, names, 2, 0.6)]
    if not close and len(last) <= 3:  # a name of two letters, one of them wrong
        close = [names[part] for part in closest(last, names, 2)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if not names:
        return ""
    some = ", ".join(list(names.values())[:12])
    return f"; there is {some}{', ...' if len(names) > 12 else ''}"


def one_line(error: BaseException) -> str:
    """The error's text on one line; its kind in front where the text alone says too little."""
    text = " ".join(str(error).split())
    if isinstance(error, TypeError | ValueError | ConfigError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def noted(text: str, never_used: Mapping[str, str]) -> str:
    """The text of an error, with what was never used behind it where that may be the reason.

    Args:
        text: Of the error.
        never_used: `group/option` or `experiment/name` → a line about the file of the user's that
            lost this name, which was chosen, to another.

    Example:
        >>> lost = {"model/mlp": "configs/model/mlp.yaml is never used"}
        >>> noted("there is no key 'model.width'", lost)
        "there is no key 'model.width' (configs/model/mlp.yaml is never used)"
        >>> noted("trainer.epochs must be 1 or more, got 0", lost)
        'trainer.epochs must be 1 or more, got 0'
    """
    for name, line in never_used.items():
        group = name.rpartition("/")[0]
        # An experiment may set any key, an option only those of its group.
        if group == "experiment" or re.search(rf"\b{re.escape(group)}[./]", text):
            text += f" ({line})"
    return text
