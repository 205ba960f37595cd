"""The domain of the webhook relay: plugins call third-party endpoints without seeing URL or credentials."""
