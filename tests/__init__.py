"""The test suite; it mirrors the rooms."""
