"""Webhooks of other systems: who sent one (`signatures`), and what it means (`rules`)."""
