"""What a notebook sees of a pool: tables in any form, cards, charts, progress, jobs that outlive it."""
