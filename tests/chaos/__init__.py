"""A relay under faults: real processes on a real server, a receiver that counts, and promises that are checked after."""
