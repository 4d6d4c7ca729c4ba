"""Replays of failed jobs: prepared and shown first, then run."""
