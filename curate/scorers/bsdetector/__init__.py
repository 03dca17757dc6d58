"""Parts of BSDetector's confidence: prompts, answers, consistency, reflection."""
