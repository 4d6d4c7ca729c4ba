"""What each page shows, gathered from the store: a handler makes a template's values of a visit."""
