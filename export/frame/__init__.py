"""The graph that looks at a frame once: the networks that `ingest` asks, joined into one."""
