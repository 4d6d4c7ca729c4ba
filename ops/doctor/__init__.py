"""The doctor: checks every part that a working system needs, and reports how each is and what to do.

Reads only, unless it is to mend what is stored: Redis is asked about itself, workers are pinged,
and credentials are tried by a harmless read. `checks` says in which order; `findings` is what comes of each.
"""
