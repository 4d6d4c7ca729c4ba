"""Helpers that more than one test uses."""
