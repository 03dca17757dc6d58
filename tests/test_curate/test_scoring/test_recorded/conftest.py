"""Small models and rows to train on."""

from trained import config, make, tiny_llama

__all__ = ["config", "make", "tiny_llama"]  # fixtures
