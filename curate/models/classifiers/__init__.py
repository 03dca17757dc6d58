"""Models that return a number or a label for a text: NLI, reward models, yes or no."""
