"""`make bench`: compares this relay with its peers, in one run on one machine (docs/benchmarks.md)."""
