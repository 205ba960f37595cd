"""What came back from an endpoint: read, masked, and made the result that a caller gets."""
