"""`relations api`: serves the HTTP interface."""

import click

from ops.cli.context import CommandContext, with_context
from worker import log
from worker.background import WakeupQueue, cause_of
from worker.wiring import Runtime


@click.command("api", short_help="Serve the HTTP interface.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; put a TLS proxy in front of anything else.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one."
)
@with_context
def serve_api(context: CommandContext, host: str, port: int) -> None:
    """Serve the HTTP interface: changes, jobs, webhooks, what operators ask and do, and metrics.

    \b
    Examples:
      relations api
      relations api --host 0.0.0.0 --port 8080
    """
    try:  # these need packages that the other commands do without
        from ops.web.routes import operator_routes
        from producers.portals.http.application import serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed; the HTTP interface needs onoffice-relations[http]."
        ) from error
    log.configure(context.settings.log)
    log.capture_the_rest()
    runtime = Runtime(
        context.settings, wake=WakeupQueue(context.task_sender.wake)
    )  # whose events are log lines

    def enqueue_replay(replay_id: str) -> None:
        try:
            context.task_sender.start_replay(replay_id)
        except Exception as error:  # whatever the broker's client raises; the sweep finds the replay
            runtime.emit("wake.failed", account=replay_id.rpartition("-")[0], error=cause_of(error))

    serve(runtime, host=host, port=port, more_routes=operator_routes(runtime, send_replay=enqueue_replay))
