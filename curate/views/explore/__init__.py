"""The explore page: one local web page over a store."""
