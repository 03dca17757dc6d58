"""Checks of an answer against a reference: numbers, maths, equal texts, patterns, tests in Python."""
