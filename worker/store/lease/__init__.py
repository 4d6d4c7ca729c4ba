"""What only the holder of an account's lease does: it reads batches, claims, begins, settles, looks up."""
