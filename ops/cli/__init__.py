"""The command line `relations`: each command in a module of `commands` that bears its name.

Commands hold no logic of the system: they parse options, call one thing, and print. They add themselves to
the root, so a new one is a new module.
"""

from ops.cli.root import main

__all__ = ["main"]
