"""The examples of the pool: writing new ones in shards, reading them and the rows behind them."""
