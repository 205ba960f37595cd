"""The partitions of the store: how many, where they are, and how one store is divided."""
