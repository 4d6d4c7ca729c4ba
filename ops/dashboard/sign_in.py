"""Signing in with a key, signing out, and choosing a language."""

from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ops.dashboard import texts as languages
from ops.dashboard.endpoint import (
    ENDED,
    MAX_OPEN_FORM,
    check_enabled,
    check_form_is_ours,
    describe_error,
    error_page,
    path_of,
    read_form,
    see_other,
    sign_in_page,
    texts_of,
)
from ops.dashboard.page import DashboardDeps, first_value, own_path
from ops.dashboard.session import TooMany, cookie_name, set_cookie
from producers.errors import Forbidden, Unauthorized
from producers.portals.http.endpoint import Endpoint, authenticate, check_access
from producers.portals.http.problems import status_of
from worker.config import Key
from worker.errors import RelationsError, StoreUnreadable
from worker.ports.records import AuditEntry

YEAR: Final = 365 * 86_400
TOO_MANY: Final = 429


def endpoint(deps: DashboardDeps) -> Endpoint:
    """Return the endpoint that asks for a key, and signs in with it."""

    async def sign_in(request: Request) -> Response:
        texts = texts_of(request)
        try:
            check_enabled(deps.runtime.live_settings.refresh())
            if request.method != "POST":
                asked = request.query_params
                fault = texts(ENDED) if "ended" in asked else ""
                return sign_in_page(request, texts, fault=fault, then=own_path(asked.get("next", "")))
            check_form_is_ours(request, None)
            return await _sign_in(deps, request)
        except RelationsError as error:
            if isinstance(error, Unauthorized | Forbidden):
                deps.refusals.note_key(error, path_of(request))
            status = TOO_MANY if isinstance(error, TooMany) else status_of(error)
            if isinstance(error, Unauthorized):
                return sign_in_page(request, texts, fault=texts(describe_error(error)), status=status)
            return error_page(request, texts, status, describe_error(error))

    return sign_in


async def _sign_in(deps: DashboardDeps, request: Request) -> Response:
    settings = deps.runtime.live_settings.refresh()
    form = await read_form(request, MAX_OPEN_FORM)
    address = request.client.host if request.client else ""
    deps.sign_in_limit.check(address)
    try:
        given = first_value(form, "key").strip()
        key = authenticate(settings.keys.values(), f"Bearer {given}" if given else "")
        check_access(key, "read")
    except (Unauthorized, Forbidden):
        deps.sign_in_limit.note_failure(address)
        raise
    deps.runtime.emit("session.began", key=key.name)
    await deps.threads.run_for(key.name, _audit, deps, key)
    response = see_other(own_path(first_value(form, "next")))
    seconds = round(settings.dashboard.session_hours * 3600)
    set_cookie(
        response,
        request,
        cookie_name(request),
        deps.sessions.sign(key, settings.dashboard),
        seconds=seconds,
    )
    return response


def _audit(deps: DashboardDeps, key: Key) -> None:
    """Write into the audit log of each account of the key that somebody signed in with it.

    One that cannot be read keeps nobody out: the pages say so.
    """
    new_id, known = deps.runtime.intake().new_id, deps.runtime.settings.accounts

    def note(account: str) -> None:
        entry = AuditEntry(new_id(), key.name, "signed in", account, count=1)
        deps.runtime.job_admin.add_audit_entry(account, entry)

    with suppress(StoreUnreadable):  # of an account that is alone
        deps.runtime.ask_each(note, [account for account in key.accounts if account in known])


async def sign_out(request: Request) -> Response:
    """Let the browser forget the session."""
    try:
        check_form_is_ours(request, None)
    except Forbidden as error:
        return error_page(request, texts_of(request), status_of(error), str(error))
    response = see_other("/sign-in")
    set_cookie(response, request, cookie_name(request), "", seconds=0)
    return response


async def choose_language(request: Request) -> Response:
    """Keep the language that was chosen in a cookie, and go back to the page."""
    texts = texts_of(request)
    try:
        check_form_is_ours(request, None)
        form = await read_form(request, MAX_OPEN_FORM)
    except RelationsError as error:
        return error_page(request, texts, status_of(error), str(error))
    chosen = first_value(form, "language")
    response = see_other(own_path(first_value(form, "next")))
    if chosen in languages.LANGUAGES:
        set_cookie(response, request, languages.COOKIE, chosen, seconds=YEAR)
    return response
