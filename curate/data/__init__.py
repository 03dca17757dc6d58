"""Any dataset in, selected rows out: canonical examples with content-hash ids."""
