"""BSDetector's confidence in a response, in parts: prompts, answers, consistency, reflection, formula."""
