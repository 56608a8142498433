"""Statistics of what a network computes: predictions, probabilities, activations, losses."""
