"""Webhooks: who sent one (`verify`), what it means (`mapping`), and reading it again later (`reparse`)."""
