"""The Redis client: made from a URL with timeouts and retries; Redis's errors are translated into ours."""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgspec
from redis import Redis
from redis import exceptions as redis_errors
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from worker.config.urls import CLUSTER_SCHEMES, SENTINEL_SCHEMES, redis_options
from worker.errors import Fault, InvalidSettings, StoreUnavailable, StoreUnreadable
from worker.redis.cluster import connect_cluster
from worker.redis.connection import renewed
from worker.redis.sentinel import connect_sentinel

Client = Redis
Found = TypeVar("Found")
Owner = TypeVar("Owner")
Answer = TypeVar("Answer")
Given = ParamSpec("Given")
NoPermissionError = redis_errors.NoPermissionError
OutOfMemoryError = redis_errors.OutOfMemoryError
RedisError = redis_errors.RedisError
ResponseError = redis_errors.ResponseError

# Without these, a client waits for ever for a server that hangs or whose machine is gone.
SOCKET_OPTIONS: Final = {
    "socket_keepalive": True,
    "socket_connect_timeout": 5.0,
    "socket_timeout": 10.0,
    "health_check_interval": 10,
}
# A socket file has no network between.
LOCAL_OPTIONS: Final = {name: SOCKET_OPTIONS[name] for name in ("socket_timeout", "health_check_interval")}
ENDED: Final = (
    "it ended the connection; it may speak TLS alone (rediss://, amqps://), "
    "or be a proxy that knows too few commands, as twemproxy"
)
# What the words of a server, or of who connects to it, mean to whoever runs it; the first that is found in
# the error's kind and text holds.
ADVICE: Final = {
    "auth:AuthenticationError": "the sentinels ask for a password; name it as sentinel_password in the URL",
    "network:": "its sentinels cannot be reached, or not in the way of the URL: rediss+sentinel:// is TLS",
    "MasterNotFoundError": "no sentinel that answers knows such a service",
    "MovedError": "it is a node of a cluster; write redis+cluster:// instead of redis://",
    "AskError": "it is a node of a cluster; write redis+cluster:// instead of redis://",
    "Cluster mode is not enabled": "it is no cluster (write redis://), or its user lacks +cluster|slots",
    "CrossSlotError": "it is a cluster, which can be no broker; name another by RELATIONS_BROKER_URL",
    "TryAgainError": "a slot of the cluster is on its way to another node",
    "TTL exhausted": "a slot of the cluster is on its way to another node",
    "MasterDownError": "it is a replica without a master",
    "ClusterDownError": "the cluster has a slot that nobody serves",
    "ReadOnlyError": "it is a replica; the URL must lead to the master",
    "BusyLoadingError": "it is loading its data",
    "ermissions to ": "its user lacks a right, which relations doctor names",
    "Authentication required": "it asks for a password; name it in the URL",
    "HELLO must be called": "it asks for a password; name it in the URL",
    "invalid username-password pair": "user and password in the URL are not those of the server",
    "AuthenticationError": "user and password in the URL are not those of the server",
    "DENIED ": "it has no password, so it serves its own machine alone; give it one, and name it in the URL",
    "DB index is out of range": "it has no such database; name another in the URL",
    "max number of clients": "it has no room for another connection; raise maxclients",
    "BUSY ": "a script runs too long; if it does not end, SCRIPT KILL ends it",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few replicas keep up",
    "used memory >": "it is full; raise maxmemory, or wait until the backlog is smaller",
    "WRONGTYPE": "something else has written into a key of ours",
    "limit exceeded": "it takes no more of this client; see the limits of its plan",
    "unexpected symbol near '#'": "it is older than Redis 7.0, or something else that is like it",
    "unknown command 'HELLO'": "it is older than Redis 6, or something else that is like it",
    "unknown command": "it lacks a command that is needed, or has renamed it",
    "mismatch, certificate": "its certificate is for another name; write that one in the URL",
    "certificate has expired": "whoever runs it must renew its certificate",
    "certificate is not yet valid": "its certificate is for later, or the clock of this machine is wrong",
    "CERTIFICATE_VERIFY_FAILED": "name the authority that signed its certificate, a Redis's by ssl_ca_certs, "
    "any by SSL_CERT_FILE",
    "CERTIFICATE_REQUIRED": "it asks for a certificate of ours, ssl_certfile and ssl_keyfile",
    "EOF occurred in violation": "it may ask for our certificate (ssl_certfile, ssl_keyfile), or not take it",
    "ALERT_CERTIFICATE_EXPIRED": "our certificate, ssl_certfile, has expired",
    "ALERT_UNKNOWN_CA": "it does not know the authority that signed our certificate, ssl_certfile",
    "PROTOCOL_VERSION": "it speaks no TLS that is new enough",
    "[SSL] PEM lib": "ssl_certfile and ssl_keyfile must hold a certificate and its key, as PEM",
    "KEY_VALUES_MISMATCH": "ssl_keyfile is not the key of ssl_certfile",
    "NO_CERTIFICATE": "the file that ssl_ca_certs names holds no certificate",
    "Error -2 connecting": "nobody knows a host of this name",
    "Error -3 connecting": "there is no answer to who has this name",
    "Errno 2]": "a file that the URL names is not there",
    "Error 2 connecting": "a file that the URL names is not there",
    "Connection reset by peer": ENDED,
    "Connection closed by server": ENDED,
    "ACCESS_REFUSED": "RabbitMQ does not let its user do this; see the rights that it needs",
    "RESOURCE_LOCKED": "RabbitMQ still keeps the connection of a worker of this name",
    "PRECONDITION_FAILED - inequivalent": "the queue is there, of another kind; delete it once it is empty",
    "Timeout connecting": "nobody answers there, or a server that speaks no TLS does",
}
PIPELINE: Final = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)
MOST_ASKERS: Final = 16
POOL: Final = 100  # connections of a client whose URL does not say how many
UNREADABLE: Final = (ValueError, struct.error, msgspec.MsgspecError)  # what reading bytes raises
SENTINEL: Final = re.compile(r"<redis\.client\.Redis\(.*?\bhost=([^,]+),port=(\d+).*?\)>\)>\)>", re.DOTALL)


def connect(url: str, *, timeout: float = SOCKET_OPTIONS["socket_timeout"]) -> Client:
    """Return a client for a `redis`, `unix`, `redis+cluster` or `redis+sentinel` URL; with `rediss` over TLS.

    Clusters and sentinels are several hosts (see `MultiHostUrl`). The client connects at its first command,
    belongs to the process that made it, and repeats a command whose answer was lost (R1). An answer may take
    `timeout` seconds, unless the URL says otherwise. Raises InvalidSettings for a URL that cannot be used.
    """
    scheme = url.partition("://")[0]
    options = dict[str, Any](LOCAL_OPTIONS if scheme == "unix" else SOCKET_OPTIONS)
    options |= {"retry": make_retry(), "socket_timeout": timeout}
    place = url.partition("?")[0]
    try:
        options |= redis_options(url)
        if scheme in CLUSTER_SCHEMES:
            return connect_cluster(place, options)
        if scheme in SENTINEL_SCHEMES:
            return connect_sentinel(place, options)
        client = Redis.from_url(place, **options)
    except ValueError as error:
        raise InvalidSettings([Fault("RELATIONS_REDIS_URL", f"cannot be used: {error}")]) from None
    pool = client.connection_pool
    pool.connection_class = renewed(pool.connection_class)
    return client


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise StoreUnavailable, with the server's reason and what it means, for every error of Redis."""
    try:
        yield
    # The second is raised when no node answers or a slot has none; it is no subclass of the first.
    except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
        kind = StoreUnreadable if "WRONGTYPE" in str(error) else StoreUnavailable
        raise kind(f"Redis cannot be used: {explain_error(error)}") from error


@contextmanager
def translate_unreadable(*accounts: str) -> Iterator[None]:
    """Raise StoreUnreadable where what is stored of these accounts is not what we write there."""
    try:
        yield
    except UnicodeEncodeError:  # of what is asked, which no Redis takes
        raise
    except UNREADABLE as error:  # without what was read: it may be about people
        message = f"what is stored of account {', '.join(accounts)} cannot be read"
        raise StoreUnreadable(message) from error


def tells_unreadable(
    method: Callable[Concatenate[Owner, str, Given], Answer],
) -> Callable[Concatenate[Owner, str, Given], Answer]:
    """Return a method about an account, its first argument, that raises StoreUnreadable in that way."""

    @wraps(method)
    def call(self: Owner, account: str, /, *args: Given.args, **options: Given.kwargs) -> Answer:
        with translate_unreadable(account):
            return method(self, account, *args, **options)

    return call


def read_apart(
    read: Callable[[Sequence[str]], Mapping[str, Found]], accounts: Sequence[str]
) -> Mapping[str, Found]:
    """Return what is read of the accounts at once; in halves, without those that cannot be read, else.

    Raises StoreUnreadable for an account that is alone.
    """
    try:
        return read(accounts)
    except StoreUnreadable:
        if len(accounts) == 1:
            raise
    found, middle = dict[str, Found](), len(accounts) // 2
    for half in (accounts[:middle], accounts[middle:]):
        with suppress(StoreUnreadable):  # an account that is alone
            found.update(read_apart(read, half))
    return found


class Askers:
    """Ask about many accounts, several at a time: whoever wants to know, and threads that are free.

    They take a quarter of the connections that the URL allows, or nothing else could be asked meanwhile.
    """

    def __init__(self, url: str) -> None:
        at_once = min(MOST_ASKERS, redis_options(url).get("max_connections", POOL) // 4)
        self._helpers = max(0, at_once - 1)
        self._threads = ThreadPoolExecutor(max(1, self._helpers), "asker")  # begin when they are needed

    def __call__(self, ask: Callable[[str], Found], accounts: Sequence[str]) -> Mapping[str, Found]:
        """Return the answers about these accounts, of several without those that cannot be read.

        Raises StoreUnreadable for an account that is alone.
        """
        if len(accounts) <= 1:
            return {account: ask(account) for account in accounts}
        left, found = iter([*accounts]), dict[str, Found]()  # one iterator, of which each takes the next

        def ask_rest() -> None:
            for account in left:
                try:
                    found[account] = ask(account)
                except StoreUnreadable:
                    continue
                except BaseException:
                    list(left)  # leaves out the rest
                    raise

        helpers = [self._threads.submit(ask_rest) for _ in accounts[: self._helpers]]
        ask_rest()
        for helper in helpers:
            if not helper.cancel():  # while all threads are busy nobody waits for one
                helper.result()
        return {account: found[account] for account in accounts if account in found}


def is_refusal(error: StoreUnavailable) -> bool:
    """Whether the server answers, and does not do what it was asked: without a right, or under that name."""
    return isinstance(error.__cause__, redis_errors.ResponseError)


def is_timeout(error: StoreUnavailable) -> bool:
    """Whether the server gave no answer in time."""
    return isinstance(error.__cause__, redis_errors.TimeoutError)


def is_answer(error: BaseException | None) -> bool:
    """Whether the error is what a server says, which so is there: that it refuses us, or is loading."""
    answers = (
        redis_errors.ResponseError,
        redis_errors.AuthenticationError,
        redis_errors.AuthorizationError,
        redis_errors.BusyLoadingError,
    )
    if error is None or isinstance(error, answers) or "max number of clients" in str(error):
        return error is not None
    return is_answer(error.__cause__ or error.__context__)  # of a library that has its own errors


def explain_error(error: BaseException) -> str:
    """Return the error's own words, and what they mean where that is known."""
    text, advice = _words_of(error), find_advice(error)
    # What is known holds for the server, whichever command met it.
    return f"{PIPELINE.sub('', text)} ({advice})" if advice else text


def find_advice(error: BaseException) -> str:
    """Return what the error's own words mean to whoever runs the server; "" where that is not known."""
    words = f"{' '.join(kind.__name__ for kind in type(error).__mro__)} {_words_of(error)}"
    return next((meaning for sign, meaning in ADVICE.items() if sign in words), "")


def _words_of(error: BaseException) -> str:
    return SENTINEL.sub(r"\1:\2", str(error)) or type(error).__name__


def make_retry() -> Retry:
    """Return how a client tries again when its connection is lost."""
    # Only lost connections are retried: a server that hangs would cost three more times ten seconds, for the
    # connection and for the command, 160 in all.
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return Retry(backoff, retries=3, supported_errors=(redis_errors.ConnectionError,))


def no_retry() -> Retry:
    """Return how a client that waits for messages tries again: not at all, its caller does."""
    return Retry(NoBackoff(), retries=0)
