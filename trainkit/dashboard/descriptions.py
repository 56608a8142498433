"""What a tag means and what is healthy, as TensorBoard's page SCALARS shows it behind an "i"."""

import re

__all__ = ["describe"]

# Pattern of whole tags → Markdown. With several optimizers their name stands behind the section.
_ANY = "(?:[^/]+/)?"
_TEXTS = {
    r"loss/total": "The loss that is minimized. It should fall; validation should follow train.",
    r"loss/.+": "A component of the loss, weighted: all components add up to `loss/total`.",
    r"metrics/loss": "The loss over a whole data set, in evaluation mode: train and validation are "
    "comparable here, unlike in `loss/total`.",
    r"metrics/.+": "A metric over a whole data set.",
    r"running/.+": "A metric that the trainer itself keeps over its batches.",
    r"predictions/entropy": "Mean entropy of the predicted class probabilities, in nats: "
    "ln(classes) is guessing, 0 is certain.",
    r"predictions/entropy_normalized": "Entropy divided by ln(classes): 1 is guessing, 0 is "
    "certain. It falls while a classifier learns; 0 from the start is a collapse.",
    r"predictions/confidence": "Mean probability of the predicted class.",
    r"predictions/margin": "Mean distance between the two largest class probabilities.",
    r"predictions/expected_calibration_error": "Mean distance between confidence and accuracy: 0 "
    "is calibrated.",
    r"predictions/maximum_calibration_error": "The largest distance between confidence and "
    "accuracy in a bin.",
    r"predictions/overconfidence": "Mean confidence minus accuracy: above 0 too sure, below 0 not "
    "sure enough.",
    r"predictions/(?:mean|std|min|max)": "Raw predictions of a regression. Their spread should "
    "meet that of the targets.",
    r"targets/(?:mean|std)": "Targets of a regression.",
    r"residuals/(?:mean|std)": "Prediction minus target. The mean should be near 0, the spread "
    "should fall.",
    rf"gradients/{_ANY}global_norm_raw": "Norm of all gradients after the backward pass, before "
    "clipping.",
    rf"gradients/{_ANY}global_norm": "Norm of all gradients as the optimizer sees them, after "
    "unscaling and clipping.",
    rf"gradients/{_ANY}log10_global_norm(?:_raw)?": "log10 of the gradient norm: a slow fall is "
    "healthy; jumps of more than 1 are spikes. -38 stands for 0.",
    rf"gradients/{_ANY}clipped": "1 if this step was clipped. Clipped at every step: the limit is "
    "a learning rate in disguise.",
    rf"gradients/{_ANY}non_finite": "Gradient elements that are NaN or infinite: healthy is 0 "
    "(a loss scaler skips such steps).",
    rf"weights/{_ANY}global_norm": "Norm of all weights. Growth without end: too little decay or "
    "too large a learning rate.",
    rf"updates/{_ANY}global_ratio": "Size of the step relative to the weights: about 1e-3 is "
    "usual.",
    rf"updates/{_ANY}log10_global_ratio": "log10 of the size of the step relative to the weights: "
    "usual between -4 and -2. Above: the learning rate is too high; below: too low.",
    rf"updates/{_ANY}skipped": "1 if the loss scaler skipped this step.",
    r"hyperparameters/(?:.+/)?log10_lr": "log10 of the learning rate. -38 stands for 0.",
    r"hyperparameters/.+": "A value that changes over time, at the first and the last iteration "
    "that used it. Constants stand in HPARAMS and in the config.",
    r"throughput/samples_per_second": "Samples that training takes in, per second.",
    r"throughput/iteration_seconds": "Wall-clock seconds of an iteration.",
    r"throughput/data_wait_fraction": "Share of the time that training waits for data: above 0.1 "
    "more workers may help.",
    r"memory/.+": "Memory in MiB.",
    r"monitor/overhead_fraction": "Share of the training time that monitoring takes, measured.",
    r"monitor/every": "Iterations between two samples of the statistics.",
    r"tensors/dead_fraction_max": "Share of units that are 0 for the whole batch, in the worst "
    "layer.",
    r"tensors/saturated_fraction_max": "Share of outputs near a bound of their activation "
    "function, in the worst layer.",
    rf"tensors/{_ANY}log10_gradient_norm_min": "log10 of the smallest gradient norm of a "
    "parameter: far below the largest, gradients vanish.",
    rf"tensors/{_ANY}log10_gradient_norm_max": "log10 of the largest gradient norm of a parameter.",
    r"results/.+": "The best, last and test values of the run, for HPARAMS.",
}  # fmt: skip
_PATTERNS = [(re.compile(pattern), text) for pattern, text in _TEXTS.items()]


def describe(tag: str) -> str:
    """What the tag means and what is healthy; empty for a tag that is not known.

    Example:
        >>> describe("updates/generator/skipped")
        '1 if the loss scaler skipped this step.'
        >>> describe("mine/own")
        ''
    """
    return next((text for pattern, text in _PATTERNS if pattern.fullmatch(tag)), "")
