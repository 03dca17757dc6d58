"""Any dataset in: readers, formats, canonical examples."""
