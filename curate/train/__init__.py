"""The fine-tuning loop: full or LoRA, batches by tokens, resumable to the bit."""
