"""The whole system on one machine: for `relations dev`, `relations demo`, benches and tests."""
