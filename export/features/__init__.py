"""A user's own feature network in the place of ours. `command` goes through the other modules in turn."""
