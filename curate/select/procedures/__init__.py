"""Methods that train, generate or judge between selections, step by step."""
