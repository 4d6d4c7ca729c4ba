"""Sends messages of callbacks over HTTP: signed, to checked addresses only, within a bounded time."""
