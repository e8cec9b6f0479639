"""Pictures made of answers: overlays, palettes, sheets, run lengths."""
