"""How much goes wrong in one story: odds per occasion, drawn once, so that every evil also appears alone."""

import random
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """Odds: of a worker's death, of its freezing, of a cut to the store (per call of the world); of messages; of requests."""

    crash: float = 0.0
    freeze: float = 0.0
    cut: float = 0.0
    lose: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    deaf: float = 0.0  # a producer that misses its answer
    faint: float = 0.0  # a heartbeat that fails
    fault: float = 0.0  # a request that the API, or the way there, spoils
    slow: float = 0.0  # one that takes long

    @classmethod
    def draw(cls, dice: random.Random) -> "Chaos":
        """Each kind absent, rare or frequent."""
        return cls(**{field.name: dice.choice(ODDS.get(field.name, OFTEN)) for field in fields(cls)})


OFTEN = (0.0, 0.1, 0.5)
SELDOM = (0.0, 0.005, 0.03)
ODDS = {"crash": SELDOM, "freeze": SELDOM, "cut": SELDOM, "fault": (0.0, 0.1, 0.3), "slow": (0.0, 0.05, 0.2)}
