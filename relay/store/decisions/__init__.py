"""What was decided about API keys and webhooks: authenticated chains, and what tells processes how far they go."""
