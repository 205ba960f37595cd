"""Reads text and plain values strictly: JSON, JavaScript object text, expressions, quantities, times, hosts, ids."""
