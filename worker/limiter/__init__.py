"""The pace of an account: when the next request may go out, and what its answer does to the pace.

`policy` holds the rules as pure functions, `redis_limiter` keeps the state. Nothing here knows HTTP or waits.
"""
