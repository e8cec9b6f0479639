"""Sluice: the maths of the methods and the glue that serves them."""
