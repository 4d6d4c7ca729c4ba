"""What tests of the HTTP interface use: it running over an empty Redis, and a client of it."""

import httpx
import pytest

from tests.support.front_fixtures import front as front
from tests.support.front_fixtures import shared_front as shared_front
from tests.support.http_front import Front


@pytest.fixture
def http(front: Front) -> httpx.Client:
    """Return a client that may send and read for both accounts."""
    return front.client()
