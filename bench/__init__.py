"""`make bench`: this relay beside its peers, in one run on one machine (docs/benchmarks.md)."""
