"""How a record is erased from all that is kept of an account."""
