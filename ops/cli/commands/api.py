"""`relations api`: serves the HTTP interface."""

import sys

import click

from ops.cli.context import CommandContext, port_option, with_local_context
from ops.cli.output import drawing_stream
from ops.cli.root import main
from worker import log
from worker.background import WakeupQueue, cause_of
from worker.contract import account_of
from worker.garbage import look_past_imports
from worker.wiring import Runtime, open_traces


@main.command("api", short_help="Serve the HTTP interface.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen (`::` is everywhere); put a TLS proxy in front of anything else.",
)
@port_option("--port", 8080, "0 takes any free one.")
@click.option(
    "--keep-alive",
    type=click.FloatRange(1, 3600),
    default=75.0,
    show_default=True,
    envvar="RELATIONS_KEEP_ALIVE",
    show_envvar=True,
    help="Seconds that an idle connection is kept: more than the proxy in front keeps its own.",
)
@click.option(
    "--root-path",
    metavar="PATH",
    default="",
    envvar="RELATIONS_ROOT_PATH",
    show_envvar=True,
    help="The path above the interface; without it, X-Forwarded-Prefix of a trusted proxy.",
)
@with_local_context
def serve_api(context: CommandContext, host: str, port: int, keep_alive: float, root_path: str) -> None:
    """Serve the HTTP interface: changes, jobs, webhooks, what operators ask and do, and metrics.

    \b
    Examples:
      relations api
      relations api --host 0.0.0.0 --port 8080
    """
    from ops.dashboard.routes import page_routes  # slow to import
    from ops.web.routes import operator_routes
    from producers.portals.http.application import application
    from producers.portals.http.middleware import clean_root_path
    from producers.portals.http.server import Server

    try:
        root_path = clean_root_path(root_path)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--root-path") from None
    context.require_all_settings()
    log.configure(context.settings.log, stream=drawing_stream(sys.stderr))  # which outlives this command's
    log.capture_the_rest()
    traces = open_traces(context.settings, service="relations-api")
    emit = traces.follow(log.emit) if traces else log.emit
    runtime = Runtime(context.settings, wake=WakeupQueue(context.task_sender.wake), emit=emit)

    def enqueue_replay(replay_id: str) -> None:
        try:
            context.task_sender.start_replay(replay_id)
        except Exception as error:  # whatever the broker's client raises; the sweep finds the replay
            runtime.emit("wake.failed", account=account_of(replay_id), error=cause_of(error))

    app = application(
        runtime,
        more_routes=operator_routes(runtime, send_replay=enqueue_replay),
        pages=page_routes(runtime, send_replay=enqueue_replay),
        note_body=traces.note_body if traces else None,
    )
    server = Server(app, host=host, port=port, keep_alive=keep_alive, root_path=root_path)
    look_past_imports()
    emit("api.started", url=server.url)
    server.run()
    emit("api.stopped", url=server.url)
