"""The use cases: accept changes, flush an account, run a replay. They know no Celery, Redis, HTTP or logging."""
