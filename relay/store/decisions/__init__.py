"""What was decided about API keys and webhooks: authenticated chains, and how processes learn how far they go."""
