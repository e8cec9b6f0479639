"""The gallery: frames kept once each, for ever, and found again by what they show.

`store` is the gallery, `frames` what goes in and comes out, `intake` the way in, `catalogue` the rows and `table` the
same in memory, `shards` the files, `records` the rows once more in them, `belonging` whether both are of one gallery,
`holding` the gallery of a server, `finding` what a search reads of them; `scores` what detectors found, `scoring` how
it comes in later, `pool` the gallery as something to select from; `upkeep` what looks after a folder
(`python -m sluice.gallery`).
"""
