"""Webhooks, portals, replays and job administration; all enter the worker by its front door."""
