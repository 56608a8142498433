"""Several processes that train together: who they are, how they meet, what they tell each other."""
