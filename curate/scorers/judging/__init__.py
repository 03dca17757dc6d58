"""What a judge is asked, and how its answer on a scale is read."""
