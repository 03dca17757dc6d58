"""From a conversation to token ids: chat templates, text templates, scored positions."""
