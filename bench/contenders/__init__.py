"""The contenders: one adapter each, which starts a contender's processes and asks what it recorded."""
