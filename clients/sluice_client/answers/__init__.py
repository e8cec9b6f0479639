"""The answers of the verbs: frozen dataclasses."""
