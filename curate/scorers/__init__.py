"""One file per scorer; `curate.registry` finds them by importing this package."""
