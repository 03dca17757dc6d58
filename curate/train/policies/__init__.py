"""Which rows of a candidate batch are trained on, one file per policy."""
