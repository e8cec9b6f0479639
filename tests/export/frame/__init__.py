"""Tests of the graph that looks at a frame once."""
