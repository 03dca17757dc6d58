"""Notebook views of a pool: tables, cards, charts, progress."""
