"""Cancel queued changes, dismiss failed jobs, and erase a record from everything that is kept."""
