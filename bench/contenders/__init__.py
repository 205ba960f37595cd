"""The contenders: one adapter each, which starts a contender's processes and reads the results that it recorded."""
