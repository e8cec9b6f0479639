"""The answers of the verbs: frozen dataclasses, one module per verb."""
