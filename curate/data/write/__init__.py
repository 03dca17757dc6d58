"""Writes a selection: rows, containers, manifest, dataset card."""
