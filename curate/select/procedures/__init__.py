"""Methods that train, generate or judge between selections: the driver and its steps."""
