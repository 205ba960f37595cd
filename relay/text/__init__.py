"""Text and plain values, strictly read: JSON, JavaScript object text, expressions, quantities, times, hosts, ids."""
