"""What every adapter on Redis needs: a client from a URL, Lua scripts from files, and errors translated.

`client` is the way in; `cluster` and `sentinel` hold what those two deployments need; `broker` writes a URL
as kombu wants it. Knows no keys: those of the store are in `store/keys.py`, the limiter's at the head of its
scripts.
"""
