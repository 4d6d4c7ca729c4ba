"""A page as values: how it is declared, what its handler works with and is asked, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlencode

from ops.dashboard.session import Sessions, SignInLimit
from ops.dashboard.texts import Texts
from ops.operations.local import LocalOperations
from producers.portals.http.deps import Threads
from producers.portals.http.endpoint import check_access
from producers.portals.http.refusals import RefusalLog
from worker.config import Key, Settings
from worker.config.values import Right
from worker.contract.message import UNROUTED
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardDeps:
    """What handlers work with: a runtime, what operators look up and do over it, and who has signed in."""

    runtime: Runtime
    operations: LocalOperations
    sessions: Sessions
    sign_in_limit: SignInLimit
    refusals: RefusalLog
    threads: Threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request for a page: by which key, in which language, with which parameters.

    `by` is whom the audit log names. `here` is the path with its query by which the page is asked for again;
    `came_from` that of the page whose form was sent, empty if it is not known.
    `path_params` are those of the route, `query` and `form` have every value that was sent.
    """

    key: Key
    by: str
    texts: Texts
    settings: Settings
    root: str
    path: str
    here: str = "/"
    came_from: str = ""
    path_params: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the key, in the order of the settings."""
        return tuple(name for name in self.settings.accounts if name in self.key.accounts)

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The accounts of the key, and `unrouted` if it may see messages that name no account."""
        return (*self.accounts, *([UNROUTED] if UNROUTED in self.key.accounts else []))

    @property
    def zone(self) -> tzinfo:
        """The time zone of what is shown."""
        return self.settings.dashboard.zone

    @property
    def signed_in_here(self) -> bool:
        """Whether the key itself was given: a user whom a proxy names signs in, and out, there."""
        return self.by == self.key.name

    def may(self, right: Right) -> bool:
        """Return whether the key has the right."""
        return right in self.key.can

    def check(self, right: Right, account: str) -> str:
        """Return the account; raise Forbidden unless the key has the right for it."""
        check_access(self.key, right, account)
        return account

    def named(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.path_params[name])

    def asked(self, name: str) -> str:
        """Return a parameter of the query, without spaces around it; empty if it was not sent."""
        return first_value(self.query, name).strip()

    def sent(self, name: str) -> str:
        """Return a field of the form, without spaces around it; empty if it was not sent."""
        return first_value(self.form, name).strip()

    def named_account(self, right: Right) -> str:
        """Return the account in the path; raise Forbidden unless the key has the right for it."""
        return self.check(right, self.named("account"))

    def chosen_account(self, right: Right) -> str:
        """Return the account that is asked for, else the key's first, if it has any; raise Forbidden."""
        chosen = self.asked("account") or next(iter(self.accounts), "")
        return self.check(right, chosen) if chosen else ""

    def chosen_inboxes(self) -> tuple[str, ...]:
        """Return the inbox that is asked for, else all of the key; raise Forbidden."""
        chosen = self.asked("account")
        return (self.check("read", chosen),) if chosen else self.inboxes


class Page(NamedTuple):
    """A template, the values it shows, and the status of the response."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


class SeeOther(NamedTuple):
    """Another page to go to, by its path below our own root."""

    path: str


Answer = Page | SeeOther
Handler: TypeAlias = "Callable[[DashboardDeps, Visit], Answer]"
HOME: Final = "/"


def own_path(path: str) -> str:
    """Return a path of ours to go on to; the first page for anything that leads elsewhere."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours else HOME


def first_value(values: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the first value that was sent under a name; empty if none was."""
    return next(iter(values.get(name, ())), "")


def link(path: str, **parameters: object) -> str:
    """Return a path with parameters; empty ones are left out."""
    given = [(name, str(value)) for name, value in parameters.items() if value not in ("", None, 0)]
    return f"{path}?{urlencode(given)}" if given else path


def link_next(path: str, cursor: str, **parameters: object) -> str:
    """Return the link to the next page of a list; empty without a cursor."""
    return link(path, **parameters, cursor=cursor) if cursor else ""


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One method of one path, what shows or does it, and the right that a key needs.

    One that `waits` is shown also where Redis hangs, however long that takes.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    right: Right
    waits: bool = False


def get(path: str, right: Right = "read", *, waits: bool = False) -> Callable[[Handler], PageRoute]:
    """Make a function the page of a path."""
    return lambda handler: PageRoute("GET", path, handler, right, waits)


def post(path: str, right: Right = "replay") -> Callable[[Handler], PageRoute]:
    """Make a function what a form that is sent to a path does."""
    return lambda handler: PageRoute("POST", path, handler, right, waits=True)
