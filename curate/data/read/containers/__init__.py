"""Containers of rows, streamed in chunks: JSON, JSON Lines, CSV, Parquet, Arrow, saved and hub datasets."""
