"""The network of Deep Template Matching: its training and its entry in the table of exports."""
