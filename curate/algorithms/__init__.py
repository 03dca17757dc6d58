"""Algorithms on arrays that methods share: no store, no model, no files."""
