"""The Python clients, over HTTP or straight to Redis."""
