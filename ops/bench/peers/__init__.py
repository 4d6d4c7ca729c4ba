"""What a user would write instead, one small file for each library.

Each file runs in an environment of its own, which has that library and httpx and nothing of ours. It has two
jobs, `apply`, which makes one signed call for one change (`call`), and `nothing`, and a function `enqueue`.
The library's own command starts the worker, `producer` runs in the process that enqueues.
"""
