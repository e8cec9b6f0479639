"""Reads and writes videos with PyAV."""
