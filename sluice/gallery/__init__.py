"""The gallery: frames kept once each, for ever, and found again by what they show.

`store` is the gallery, `frames` what goes in and comes out, `intake` the way in, `catalogue` the rows, `shards` the
files, `upkeep` what looks after a folder (`python -m sluice.gallery`).
"""
