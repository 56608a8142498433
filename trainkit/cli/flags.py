"""The flags of `trainkit run`: those of Hydra and those of trainkit."""

__all__ = ["FLAGS"]

FLAGS = """\
trainkit run: flags, beside the overrides (trainkit run --help)

  --multirun, -m         run every combination of comma-separated values
  --from RUN_DIR         take the config of a run, with the overrides on top
  --cfg, -c WHAT         show the config, without running it: job, hydra or all
  --package, -p KEY      with --cfg: only this part of it
  --resolve              with --cfg: interpolations resolved
  --info, -i [WHAT]      show where it comes from: all, config, defaults, defaults-tree,
                         plugins or searchpath
  --config-name, -cn     a config of your own in the place of trainkit's config
  --config-dir, -cd      a folder with more options
  --config-path, -cp     a folder in the place of trainkit's own
  --help, -h             groups, options and keys
  --hydra-help           this text; --cfg hydra shows Hydra's own config
  --version, -V          trainkit's version

Completion in bash: eval "$(trainkit completion bash)"
"""
