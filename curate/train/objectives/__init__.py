"""Losses of the scored positions of a batch, one file per objective."""
