"""The use cases: accept changes, flush an account, run a replay; without Celery, Redis, HTTP or logging."""
