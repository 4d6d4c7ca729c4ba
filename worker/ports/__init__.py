"""What the use cases need from outside: a store, the API, a limiter, and the values that cross these borders.

The adapters are `store/`, `onoffice/` and `limiter/`; `worker.testing` ships an in-memory store that is
tested to equal Redis.
"""
