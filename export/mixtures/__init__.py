"""The mixture-density detector. Read `network`, `files`, `losses`, `train` and `average_precision`, in that order.

`entry` holds its rows in the table of exports.
"""
