"""Where finished steps go: event files, memory, other loggers."""
