"""Several processes of one run: how they are started, how they communicate, how they fail."""
