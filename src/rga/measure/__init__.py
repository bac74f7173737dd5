"""A first day on a GPU in one command: what is checked, what is timed and what is trained. `rga measure`."""
