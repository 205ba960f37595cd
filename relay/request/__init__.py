"""What a caller asks for, checked against a registration and rendered as the exact request."""
