"""Draws answers: overlays and their colours, sheets of pictures, heat maps; and masks as run lengths."""
