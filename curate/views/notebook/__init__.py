"""Notebook views of a pool: tables in any form, cards, charts, progress, background jobs."""
