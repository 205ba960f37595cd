"""What leaves the building: the guard, the transport and the sender."""
