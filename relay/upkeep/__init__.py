"""What workers do beside calls: sweep, call back, raise alerts."""
