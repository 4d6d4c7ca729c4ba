"""Replays of failed jobs: prepared and previewed, then run."""
