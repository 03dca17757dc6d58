"""Any dataset in, canonical examples with content-hash ids; selected rows back out, unchanged."""
