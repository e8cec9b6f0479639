"""The maths of the methods, one folder per method; none knows of Triton, of the wire or of the gallery."""
