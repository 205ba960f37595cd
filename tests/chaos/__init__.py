"""Runs a relay under faults: real processes, a real server, a receiver that counts; then checks the promises."""
