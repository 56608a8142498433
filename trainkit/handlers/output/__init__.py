"""What an engine's step returned, in one form, whoever wrote the engine."""
