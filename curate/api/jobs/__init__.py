"""Commands that run in a process of their own and outlive the notebook that started them."""
