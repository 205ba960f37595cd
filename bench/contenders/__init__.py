"""The contenders: an adapter for each, which starts its processes and reads the results that it recorded."""
