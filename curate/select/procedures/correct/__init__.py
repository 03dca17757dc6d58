"""CLEAR's Auto-Correct: candidates, verdicts on them, and revisions."""
