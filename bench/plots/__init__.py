"""The picture of a run, drawn by a separate program in an environment with matplotlib."""
