"""One contender for the slots of a limiter: `python -m ops.bench.peers.limiters NAME URL RATE BURST SECONDS`.

It says `ready`, waits for a line, takes slots as its library's users do, and prints how many it got.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

KEY = "account"


def limits_(url: str, rate: int, _burst: int) -> Callable[[float], bool]:
    """Ask, and sleep until the window of a second says that there is room; `limits` knows no burst."""
    from limits import RateLimitItemPerSecond
    from limits.storage import storage_from_string
    from limits.strategies import MovingWindowRateLimiter

    limiter, item = MovingWindowRateLimiter(storage_from_string(url)), RateLimitItemPerSecond(rate)

    def take(until: float) -> bool:
        while not limiter.hit(item, KEY):
            reset = limiter.get_window_stats(item, KEY).reset_time
            if time.time() > until:
                return False
            time.sleep(max(0.001, reset - time.time()))
        return True

    return take


def throttled(url: str, rate: int, burst: int) -> Callable[[float], bool]:
    """Let throttled-py wait for its own GCRA."""
    from throttled import RateLimiterType, Throttled, rate_limiter, store

    throttle: Any = Throttled(
        key=KEY,
        using=RateLimiterType.GCRA.value,
        quota=rate_limiter.per_sec(rate, burst=burst),
        store=store.RedisStore(server=url),
        timeout=30,
    )
    return lambda until: not throttle.limit(KEY, timeout=max(0.01, until - time.time())).limited


def ours(url: str, rate: int, burst: int) -> Callable[[float], bool]:
    """Book the next slot of ours, and sleep until it begins."""
    from worker.limiter.redis_limiter import RedisLimiter
    from worker.redis.client import connect

    limiter = RedisLimiter(connect(url), "bench")

    def take(until: float) -> bool:
        grant = limiter.book(KEY, rate=rate, burst=burst, max_wait=max(0.0, until - time.time()))
        time.sleep(min(grant.wait, max(0.0, until - time.time())))
        return grant.booked

    return take


LIMITERS = {"ours": ours, "limits": limits_, "throttled-py": throttled}


def contend(name: str, url: str, rate: str, burst: str, seconds: str) -> None:
    """Take slots for so many seconds."""
    take, granted = LIMITERS[name](url, int(rate), int(burst)), 0
    _say("ready")
    sys.stdin.readline()
    until = time.time() + float(seconds)
    while time.time() < until:
        granted += take(until)
    _say(str(granted))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    contend(*sys.argv[1:])
