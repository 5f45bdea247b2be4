"""From arrays to probabilities: the one path that validation, evaluation and prediction share."""
