"""`python -m ops.cli` is `relations`."""

from ops.cli import main

main(prog_name="relations")
