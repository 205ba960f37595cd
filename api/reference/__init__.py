"""The reference of the API: its OpenAPI document, and an HTML page made from that document."""
