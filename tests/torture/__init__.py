"""Torture: the system under everything that can go wrong, with an account of what survived."""
