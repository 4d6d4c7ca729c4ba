"""The status store on Redis: keys, transitions, and the values' bytes."""
