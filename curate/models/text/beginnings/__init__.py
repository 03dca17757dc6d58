"""Renders a conversation once, and cuts the texts of its beginnings out of it."""
