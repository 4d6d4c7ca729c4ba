"""`python -m ops.cli` is `relations`."""

from ops.cli import main

main("relations")
