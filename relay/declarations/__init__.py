"""Declares a plugin's webhooks in the languages of its developers: their ids, and what each of them takes."""
