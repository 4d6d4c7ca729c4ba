"""What tests of clients in other languages share: where their tools are, and what the CRM lacks."""

from pathlib import Path

GENERATORS = Path(__file__).parents[1] / "clients" / "typescript" / "node_modules"
ACCOUNT = "nord"
MISSING = 404  # an address that the CRM does not have
