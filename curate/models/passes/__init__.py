"""One forward pass over a planned batch: packing, the LM head at scored positions, gradient norms."""
