"""In which iterations monitors measure, and at which moments of one they are called."""
