"""Loads the Lua scripts into servers as functions, and runs them."""
