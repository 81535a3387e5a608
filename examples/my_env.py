"""An environment of your own: guess a number that lies between 0 and 100.

From the checkout, `python examples/my_env.py` plays it with the best strategy and
`forethought check env examples.my_env:GuessNumber` checks that it keeps the contract.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from forethought.envs.base import Observation, call_tool, fork, snapshot


@dataclass(frozen=True)
class Guessing:
    """All that changes in an episode: copied for a snapshot, set for a fork."""

    secret: int
    left: int  # guesses


class GuessNumber:
    """Find the number before the guesses run out."""

    def __init__(self) -> None:
        self.state = Guessing(secret=0, left=0)

    def reset(self, **row: Any) -> str:
        """Begins an episode; the secret depends on the row's seed alone."""
        secret = random.Random(row["world_seed"]).randrange(100)
        self.state = Guessing(secret=secret, left=row.get("budget", 7))
        return f"I thought of a number below 100. You have {self.state.left} guesses."

    def guess(self, number: int) -> Observation:
        """Compares a number with the secret one.

        Args:
            number: Your guess, from 0 to 99.

        Returns:
            Whether the secret number is lower, higher or found.
        """
        if not 0 <= number < 100:
            return Observation("Error: guess a number from 0 to 99.", failed=True)
        self.state = replace(self.state, left=self.state.left - 1)
        if number == self.state.secret:
            return Observation("found")
        text = "lower" if self.state.secret < number else "higher"
        return Observation(text, done=self.state.left == 0)


def main() -> None:
    """Halves the range until the number is found, after a look at a fork."""
    env = GuessNumber()
    print(env.reset(world_seed=1))
    print("in a copy, 50 would be:", call_tool(fork(GuessNumber, snapshot(env)), "guess", "50"))
    low, high = 0, 99
    while True:
        middle = (low + high) // 2
        reply = call_tool(env, "guess", {"number": middle})
        print(middle, reply)
        if reply == "found" or reply.done:
            return
        low, high = (low, middle - 1) if reply == "lower" else (middle + 1, high)


if __name__ == "__main__":
    main()
