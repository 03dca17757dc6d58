"""Reads any dataset into canonical examples with content-hash ids; writes selected rows back out unchanged."""
