"""The verbs of `ensembles`, one file each."""
