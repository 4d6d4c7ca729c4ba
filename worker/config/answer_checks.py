"""Rules for what the senders of a source are answered, which a single setting cannot see."""

from collections.abc import Iterator
from http import HTTPStatus

from worker.config.values import Source
from worker.errors import Fault


def check_answers(source: Source) -> Iterator[Fault]:
    """Yield what cannot be answered."""
    if source.answer_body and source.answer == HTTPStatus.NO_CONTENT:
        yield Fault("answer_body", "cannot be sent with answer = 204, which has no body")
    if bool(source.challenge_in) != bool(source.challenge_answer):
        missing = "challenge_answer" if source.challenge_in else "challenge_in"
        yield Fault(missing, "is missing; a check of the address needs challenge_in and challenge_answer")
    if source.signs_challenge and source.scheme not in ("hmac", None):
        yield Fault("challenge_answer", 'can have an {hmac} with scheme "hmac" only')
