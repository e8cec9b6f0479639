"""The gallery: frames kept once each, for ever, and found again by their content.

Read in this order. `store` is the gallery. `table` holds the rows of the `catalogue` in memory, `shards` the files, and
`records` what each file says of its frames. `entry` and `intake` bring frames in, by their `keys`. `search` and
`search_words` find frames. `scores` and `embeddings` are the `notes` that networks make of frames, and `annotate` adds
them later. `snapshot` is one moment of the gallery, and `selection_pool` the gallery as a pool to select from. `upkeep`
(`python -m sluice.gallery`) looks after a folder with `compaction` and `rebuilding`; `ownership` refuses a folder whose
files are of two galleries; `holder` keeps a gallery open in a server.
"""
