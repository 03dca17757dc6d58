"""A selection out: rows, containers, manifest, card, registration with trainers."""
