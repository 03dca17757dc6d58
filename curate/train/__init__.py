"""The fine-tuning loop: full or LoRA, token-budget batches, trajectories, checkpoints that survive."""
