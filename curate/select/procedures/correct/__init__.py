"""CLEAR's Auto-Correct: candidates for responses, verdicts on them, and the revisions that follow."""
