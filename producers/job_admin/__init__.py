"""What operators do to jobs: cancel queued ones, dismiss failed ones, erase a record."""
