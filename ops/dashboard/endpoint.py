"""Serves a page: who asks, may they, is the form ours, then the handler, and an answer for every error."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from ops.dashboard import texts as languages
from ops.dashboard.page import HOME, Answer, DashboardDeps, Page, PageRoute, SeeOther, Visit, link, own_path
from ops.dashboard.rendering import HEADERS, html_response, render, static_response
from ops.dashboard.session import Visitor, find_visitor, is_own_page
from ops.dashboard.texts import Texts
from producers.errors import Forbidden, Unauthorized
from producers.portals.http.body import read_body
from producers.portals.http.endpoint import Endpoint, check_access
from producers.portals.http.problems import INTERNAL_ERROR, status_of
from worker.config import Settings, redact_answer
from worker.errors import Invalid, NotFound, RelationsError, StoreUnavailable

FORM: Final = "application/x-www-form-urlencoded"
MAX_FORM: Final = 2**20  # bytes
MAX_OPEN_FORM: Final = 2**15  # bytes of a form that anybody may send
PLAIN: Final = "/:@!$&'()*+,;=~"  # what stands in a path as it is
ENDED: Final = "Your session has ended, and nothing was done. Sign in to go on."


def page_endpoint(deps: DashboardDeps, route: PageRoute, *, takes_forms_only: bool) -> Endpoint:
    """Return the endpoint of a page.

    What `takes_forms_only` cannot be asked for again: its page is the one that the form stands on.
    """

    async def endpoint(request: Request) -> Response:
        def show_error(status: int, message: str) -> Response:
            visit = find_visit(deps, request, takes_forms_only)
            return error_page(request, texts_of(request), status, message, visit)

        try:
            return await _answer(deps, request, route, takes_forms_only)
        except ClientDisconnect:
            return Response(status_code=400)
        except RelationsError as error:
            if isinstance(error, Unauthorized | Forbidden):
                deps.refusals.note_key(error, path_of(request))
            status = status_of(error)
            if status != HTTPStatus.INTERNAL_SERVER_ERROR:
                return show_error(status, describe_error(error))
            _emit_failure(deps, request, error)
        except Exception as error:  # a bug of ours, or of a library
            _emit_failure(deps, request, error)
        return show_error(500, INTERNAL_ERROR)

    return endpoint


def unknown_page(deps: DashboardDeps) -> Endpoint:
    """Return the endpoint of an address that nothing else is at."""

    async def endpoint(request: Request) -> Response:
        texts, visit = texts_of(request), find_visit(deps, request)
        return error_page(request, texts, 404, "there is no page at this address", visit)

    return endpoint


async def to_form_page(request: Request) -> Response:
    """Return the way from an address that only takes forms to the page above, for whoever opens it again."""
    return see_other(page_above(request))


async def _answer(
    deps: DashboardDeps, request: Request, route: PageRoute, takes_forms_only: bool
) -> Response:
    settings, texts = deps.runtime.live_settings.refresh(), texts_of(request)
    check_enabled(settings)
    visitor = find_visitor(request, settings, deps.sessions)
    if request.method == "POST":
        check_form_is_ours(request, visitor)
    if visitor is None:
        return ask_to_sign_in(request, texts)
    check_access(visitor.key, route.right)
    form = await read_form(request) if request.method == "POST" else {}
    visit = _visit(request, visitor, settings, form, takes_forms_only)

    def work() -> tuple[Answer, str]:
        answer = route.handler(deps, visit)
        if isinstance(answer, SeeOther):
            return answer, ""
        return answer, render(answer, visit=visit, texts=texts, root=visit.root, now=_read_clock(deps))

    run = deps.threads.run_for if route.waits else deps.threads.read_for
    answer, html = await run(visit.key.name, work)
    if isinstance(answer, SeeOther):
        return see_other(answer.path)
    return html_response(html, answer.status, request)


def _read_clock(deps: DashboardDeps) -> int:
    """Return the time (µs) of the store; where it is away, of this machine, for what is shown without it."""
    try:
        return deps.runtime.metrics.now()
    except StoreUnavailable:
        return round(time.time() * 1e6)


def _visit(
    request: Request,
    visitor: Visitor,
    settings: Settings,
    form: Mapping[str, list[str]],
    takes_forms_only: bool,
) -> Visit:
    came_from = _page_of_form(request) if request.method == "POST" else ""
    return Visit(
        key=visitor.key,
        by=visitor.by,
        texts=texts_of(request),
        settings=settings,
        root=root_of(request),
        path=path_of(request),
        here=(came_from or page_above(request)) if takes_forms_only else here_of(request),
        came_from=came_from,
        path_params=request.path_params,
        query=parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True),
        form=form,
    )


def find_visit(deps: DashboardDeps, request: Request, takes_forms_only: bool = False) -> Visit | None:
    """Return the visit of whoever gets an error's page, without the form; None if nobody has signed in."""
    try:
        settings = deps.runtime.live_settings.refresh()
        check_enabled(settings)
        visitor = find_visitor(request, settings, deps.sessions)
    except RelationsError:
        return None
    return _visit(request, visitor, settings, {}, takes_forms_only) if visitor else None


def check_enabled(settings: Settings) -> None:
    """Raise NotFound if the settings have switched the pages off."""
    if not settings.dashboard.enabled:
        raise NotFound("the pages are switched off in the settings: [dashboard] enabled = false")


def check_form_is_ours(request: Request, visitor: Visitor | None) -> None:
    """Raise Forbidden for a form of another site; one that carries a bearer key needs no such proof."""
    if visitor and not visitor.by_cookie:
        return
    if not is_own_page(request):
        raise Forbidden("this form was sent from another site; open the page here and try again")


def ask_to_sign_in(request: Request, texts: Texts) -> Response:
    """Return the way to the sign-in page, from which it goes on; the first page shows it right here.

    For a form it goes on with the page on which the form stands, and says that nothing was done.
    """
    if request.method == "POST":
        return see_other(link("/sign-in", next=_page_of_form(request) or HOME, ended="1"))
    if path_of(request) == HOME and not request.url.query:
        return sign_in_page(request, texts)
    return see_other(link("/sign-in", next=here_of(request)))


def _page_of_form(request: Request) -> str:
    """Return the path below our root of the page on which a form stood; empty if it is not known."""
    page = urlsplit(request.headers.get("referer", ""))
    if page.netloc != request.headers.get("host"):
        return ""
    path = page._replace(scheme="", netloc="", fragment="").geturl().removeprefix(root_of(request))
    return own_path(path)


def sign_in_page(
    request: Request, texts: Texts, *, fault: str = "", then: str = HOME, status: int = 200
) -> Response:
    """Return the page that asks for a key."""
    here = link("/sign-in", next=then if then != HOME else "", ended=request.query_params.get("ended", ""))
    page = Page("sign_in.html", {"fault": fault, "then": then, "back": here}, status)
    return html_response(render(page, visit=None, texts=texts, root=root_of(request), now=0), status, request)


def error_page(
    request: Request, texts: Texts, status: int, message: str, visit: Visit | None = None
) -> Response:
    """Return the page of an error; one who has signed in finds the menu on it."""
    values = {"title": HTTPStatus(status).phrase, "status": status, "message": redact_answer(message)}
    page = Page("error.html", values, status)
    html = render(page, visit=visit, texts=texts, root=root_of(request), now=0)
    return html_response(html, status, request)


def describe_error(error: RelationsError) -> str:
    """Return an error as text, of one with several faults all of them."""
    return "; ".join(map(str, error.faults)) if isinstance(error, Invalid) else str(error)


def see_other(path: str) -> Response:
    """Return the way to another page of ours; what is in front of us adds the path above."""
    return RedirectResponse(path, 303, HEADERS)


async def static_endpoint(request: Request) -> Response:
    """Return a static file."""
    return static_response(request.path_params["name"], request.path_params["digest"], request)


async def read_form(request: Request, limit: int = MAX_FORM) -> Mapping[str, list[str]]:
    """Return the fields of the form; raise Unsupported, TooLarge or TooSlow."""
    body = await read_body(request, limit, content_types=(FORM,))
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)


def texts_of(request: Request) -> Texts:
    """Return the texts in the language that the browser chose or likes."""
    chosen = request.cookies.get(languages.COOKIE, "")
    return Texts(languages.choose_language(chosen, request.headers.get("accept-language", "")))


def root_of(request: Request) -> str:
    """Return the path above our pages."""
    return str(request.scope.get("root_path", ""))


def path_of(request: Request) -> str:
    """Return the path below our root."""
    path = str(request.scope["path"])
    return path.removeprefix(root_of(request)) or HOME


def page_above(request: Request) -> str:
    """Return the path below our root without its last part."""
    return path_of(request).rpartition("/")[0] or HOME


def here_of(request: Request) -> str:
    """Return the path below our root with its query, to come back to; the first page for what leads away."""
    path = own_path(quote(path_of(request), safe=PLAIN))
    return f"{path}?{request.url.query}" if request.url.query else path


def _emit_failure(deps: DashboardDeps, request: Request, error: Exception) -> None:
    deps.runtime.emit("request.failed", path=path_of(request), error=type(error).__name__, exc_info=error)
