"""The reference of the API: its OpenAPI document, and that document as a page for people."""
