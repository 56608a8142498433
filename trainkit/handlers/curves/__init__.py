"""Numbers of every iteration, and of values that change in steps."""
