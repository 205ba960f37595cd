"""What the key rings sealed, and when their keys were retired."""
