"""What the verbs answer: frozen dataclasses."""
