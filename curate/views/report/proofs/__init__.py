"""The page of a proof: its sections, and the file it is written to."""
