"""Named, runnable results, one YAML each; installed as ``trainkit.experiments``."""
