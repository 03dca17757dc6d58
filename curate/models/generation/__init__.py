"""Answers of a model: decoding, sampling by key, and a local server."""
