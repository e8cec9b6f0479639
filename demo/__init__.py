"""Shows the whole way once: a drive is stored, an object is asked for, a page shows what was found."""
