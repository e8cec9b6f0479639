"""The maths of the methods, one folder each. They know nothing of Triton, of the wire or of the gallery."""
