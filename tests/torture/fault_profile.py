"""How much goes wrong in a scenario: a probability per kind of fault; some scenarios have only one kind."""

import random
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultProfile:
    """The probability of each kind of fault, per occasion."""

    # Per call of a worker to the world around it:
    crash: float = 0.0
    freeze: float = 0.0
    store_cut: float = 0.0  # the connection to the store breaks
    # Per flush message of the broker:
    lose: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    # Per occasion of their own:
    producer_misses_answer: float = 0.0
    failed_renewal: float = 0.0  # of a lease
    api_fault: float = 0.0  # a request that the API, or the network before it, spoils
    slow_network: float = 0.0
    # Per scenario:
    bad_record: float = 0.0  # a record that makes every request fail that names it

    @classmethod
    def draw(cls, rng: random.Random) -> "FaultProfile":
        """Draw a profile in which each kind is absent, rare or frequent."""
        return cls(
            **{field.name: rng.choice(PROBABILITIES.get(field.name, FREQUENT)) for field in fields(cls)}
        )


FREQUENT = (0.0, 0.1, 0.5)
RARE = (0.0, 0.005, 0.03)
PROBABILITIES = {
    "crash": RARE,
    "freeze": RARE,
    "store_cut": RARE,
    "api_fault": (0.0, 0.1, 0.3),
    "slow_network": (0.0, 0.05, 0.2),
}
