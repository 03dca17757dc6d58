"""Small models and rows to train on."""

from trained import config, make, rows, tiny_chat, tiny_llama

__all__ = ["config", "make", "rows", "tiny_chat", "tiny_llama"]  # fixtures
