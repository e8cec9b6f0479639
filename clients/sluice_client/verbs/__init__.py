"""The requests and answers of every verb as tensors: pure functions that open no connection."""
