"""The clock of the micro benches written in Python, the same for all peers.

Each figure is the best of a few passes: a peer is shown at its best.
"""

import json
import time

PASS_COUNT = 5
COUNTS = {"spawn_join": 5_000, "yield": 20_000, "cancel_join": 1_000, "timeout_scope": 20_000,
          "channel_round_trip": 5_000,
          "lock": 20_000, "lock_hand_over": 20_000, "event_set": 1_000}


class Clock:
    """Times a part of a pass, where its preparation is not to be counted."""

    def start(self):
        self.begun_ns = time.perf_counter_ns()

    def stop(self):
        self.elapsed_ns = time.perf_counter_ns() - self.begun_ns


async def best_of(bench, count):
    """The best of whole passes, in ns per operation."""
    best_ns = float("inf")
    for _ in range(PASS_COUNT):
        clock = Clock()
        clock.start()
        await bench(count)
        clock.stop()
        best_ns = min(best_ns, clock.elapsed_ns / count)
    return best_ns


async def best_of_timed(bench, count):
    """The best of passes that start and stop the clock themselves."""
    best_ns = float("inf")
    for _ in range(PASS_COUNT):
        clock = Clock()
        await bench(count, clock)
        best_ns = min(best_ns, clock.elapsed_ns / count)
    return best_ns


async def measure(spawn_join, yield_between_two, cancel_join, timeout_scope, channel_round_trip, lock,
                  lock_hand_over, event_set):
    print(json.dumps({
        "spawn_join": await best_of(spawn_join, COUNTS["spawn_join"]),
        "yield": await best_of(yield_between_two, COUNTS["yield"]),
        "cancel_join": await best_of_timed(cancel_join, COUNTS["cancel_join"]),
        "timeout_scope": await best_of(timeout_scope, COUNTS["timeout_scope"]),
        "channel_round_trip": await best_of(channel_round_trip, COUNTS["channel_round_trip"]),
        "lock": await best_of(lock, COUNTS["lock"]),
        "lock_hand_over": await best_of(lock_hand_over, COUNTS["lock_hand_over"]),
        "event_set": await best_of_timed(event_set, COUNTS["event_set"]),
    }))
