"""How the values of a fleet move: counters of many rates with resets, gauges that walk, swing or stand still, integers,
floats of full precision and of few digits, classic histograms. Not all of it compresses."""

import numpy

from fleet import BOUNDS, SERIES_PER_POD, columns_of

RESETS_PER_STEP = 1e-5


class Values:
    """The current value of each series of each pod."""

    def __init__(self, pods, seed):
        self.random = numpy.random.default_rng(seed)
        self.columns = {kind: columns_of(kind) for kind in (
            "counter", "bucket", "observations", "latency_sum", "integer", "noise", "pages", "walk", "bytes", "idle",
            "constant")}
        self.now = numpy.zeros((pods, SERIES_PER_POD))
        self.rate = 10 ** self.random.uniform(-1.5, 2.5, (pods, SERIES_PER_POD))
        self.step_number = 0
        self.start(numpy.arange(pods))

    def start(self, pods):
        """Gives these pods the values of a process that has just started."""
        at = lambda kind: numpy.ix_(pods, self.columns[kind])  # noqa: E731
        shape = lambda kind: (len(pods), len(self.columns[kind]))  # noqa: E731
        self.now[pods] = 0.0
        self.now[at("integer")] = self.random.integers(0, 50, shape("integer"))
        self.now[at("pages")] = 4096.0 * self.random.integers(1000, 10**6, shape("pages"))
        self.now[at("walk")] = self.random.uniform(0, 1, shape("walk"))
        self.now[at("constant")] = 1.0
        limits = self.columns["constant"][-14:]
        self.now[numpy.ix_(pods, limits)] = self.random.choice([16.0, 64.0, 250.0, 0.75, 1e6], (len(pods), 14))

    def step(self, seconds):
        """The values so many seconds later, as a matrix of its own."""
        self.step_number += 1
        for kind in self.columns:
            getattr(self, "_" + kind)(self.columns[kind], seconds)
        return self.now.copy()

    def _counter(self, columns, seconds):
        self.now[:, columns] += self.random.poisson(self.rate[:, columns] * seconds)
        self.now[:, columns] *= self.random.random((len(self.now), len(columns))) > RESETS_PER_STEP

    def _bucket(self, columns, seconds):
        for histogram in columns.reshape(-1, len(BOUNDS)):
            seen = self.random.poisson(self.rate[:, histogram] * seconds / 10)
            self.now[:, histogram] += numpy.cumsum(seen, axis=1)

    def _observations(self, columns, _):
        self.now[:, columns] = self.now[:, self.columns["bucket"]][:, len(BOUNDS) - 1::len(BOUNDS)]

    def _latency_sum(self, columns, seconds):
        self.now[:, columns] += self.random.gamma(2.0, 0.05, (len(self.now), len(columns))) * seconds

    def _integer(self, columns, _):
        moved = self.now[:, columns] + self.random.integers(-3, 4, (len(self.now), len(columns)))
        self.now[:, columns] = numpy.maximum(moved, 0)

    def _noise(self, columns, _):
        swing = 0.4 + 0.2 * numpy.sin(self.step_number / 40 + self.rate[:, columns])
        self.now[:, columns] = swing + self.random.normal(0, 0.02, swing.shape)

    def _pages(self, columns, _):
        moves = self.random.random((len(self.now), len(columns))) < 0.3
        moved = self.now[:, columns] + moves * 4096.0 * self.random.integers(-200, 201, moves.shape)
        self.now[:, columns] = numpy.maximum(moved, 4096.0)

    def _walk(self, columns, _):
        moved = self.now[:, columns] + self.random.normal(0, 0.01, (len(self.now), len(columns)))
        self.now[:, columns] = numpy.round(numpy.clip(moved, 0, 1), 4)

    def _bytes(self, columns, seconds):
        packets = self.random.poisson(self.rate[:, columns] * seconds)
        self.now[:, columns] += packets * self.random.integers(60, 1500, packets.shape)

    def _idle(self, columns, seconds):
        self.now[:, columns] += self.random.random((len(self.now), len(columns))) < seconds / 3600

    def _constant(self, columns, _):
        pass
