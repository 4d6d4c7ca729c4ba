"""The commands of `relations`, one module per command or group of commands."""
