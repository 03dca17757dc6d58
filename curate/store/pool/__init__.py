"""The pool: writes new examples in shards, reads them and the rows behind them."""
