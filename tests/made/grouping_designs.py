"""Defines the smallest possible design of GroupViT, for tests that need any network, not a good one."""

from export.grouping import network

TINY = network.Design(
    vision={
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "depths": [1, 1, 1],
        "num_group_tokens": [8, 4, 0],
        "num_output_groups": [8, 4, 4],
        "num_attention_heads": 2,
    },
    text={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    width=16,
    hidden=32,
)
