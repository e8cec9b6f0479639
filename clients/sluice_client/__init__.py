"""The client of a Sluice server."""
