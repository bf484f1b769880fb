"""kill -9 while data flows: everything acknowledged is there, counted record by record, and nothing twice of what came
in lanes.

TENANTSCOPE_KILL_ROUNDS is the number of rounds (10), TENANTSCOPE_SEED the seed of the moments (random, and printed).
"""

import os
import random
import time

from ledger import CONFIG, Load
from processes import Process

ROUNDS = int(os.environ.get("TENANTSCOPE_KILL_ROUNDS", "10"))
SEED = int(os.environ.get("TENANTSCOPE_SEED") or random.SystemRandom().randrange(2**32))


def test_nothing_acknowledged_is_lost_and_nothing_in_a_lane_is_there_twice(collectors):
    print(f"seed {SEED}, {ROUNDS} rounds")
    chance = random.Random(SEED)
    collector = collectors(CONFIG)
    rounds = []
    for number in range(ROUNDS):
        under_way = Load(collector, number)
        rounds.append(under_way)
        under_way.start()
        for _ in range(chance.choice([1, 1, 2])):
            time.sleep(chance.uniform(0.2, 2.5))
            collector.kill()
            collector.start()
        time.sleep(chance.uniform(0.0, 0.5))
        under_way.finish()
        assert all(sender.acknowledged for sender in under_way.senders), "a sender came to nothing"
        for one in rounds[-3:]:
            one.check()
    for one in rounds:
        one.check()
    sent = {what: sum(len(getattr(one, what).acknowledged) for one in rounds)
            for what in ("logs", "plain_logs", "spans", "deltas", "samples", "backfill")}
    print(f"acknowledged and found: {sent}")


def test_a_kill_while_it_starts_loses_nothing(collectors):
    chance = random.Random(SEED)
    collector = collectors(CONFIG)
    under_way = Load(collector, 0)
    under_way.start()
    time.sleep(1.0)
    for _ in range(3):
        collector.kill()
        collector.process = Process("collector", collector.command(), collector.folder / "collector.log")
        time.sleep(chance.uniform(0.05, 0.6))
    collector.kill()
    collector.start()
    under_way.finish()
    under_way.check()
