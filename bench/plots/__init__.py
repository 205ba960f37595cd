"""The picture of a run: drawn by a program of its own, in an environment that has matplotlib."""
