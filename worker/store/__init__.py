"""The status store on Redis or Valkey: an account's data, what is done to it, and what is asked of it."""
