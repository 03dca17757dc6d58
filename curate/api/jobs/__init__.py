"""Commands in the background, which outlive the notebook that started them."""
