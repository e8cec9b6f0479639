"""Tests of the parts that every training shares: trunk, crops, loop."""
