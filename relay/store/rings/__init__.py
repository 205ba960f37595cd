"""What the key rings have sealed, and when their keys were retired."""
