"""Static SVG charts and the numbers on them."""
