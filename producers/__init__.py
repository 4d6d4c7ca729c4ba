"""The ways in and back: HTTP, webhooks, the SDK, and replaying what failed. They enter the worker by its front door."""
