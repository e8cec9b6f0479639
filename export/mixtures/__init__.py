"""The mixture-density detector: its network, training and entry in the table of exports."""
