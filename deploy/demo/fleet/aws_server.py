"""moto_server with its answers in the form that AWS documents, where moto's own form is one that no AWS SDK reads.

Takes moto_server's arguments.
"""

import math
import re
import sys

from moto.cloudwatch.models import Statistics
from moto.server import main
from moto.xray.models import SegmentCollection

summary_of_moto = SegmentCollection.summary
statistic_of_moto = Statistics.get_statistics_for_type


def summary(self, *arguments, **named):
    """GetTraceSummaries: Users is a list (API reference, type TraceSummary); moto answers an object."""
    answer = summary_of_moto(self, *arguments, **named)
    for found in answer["TraceSummaries"]:
        found["Users"] = []
    return answer


def statistic(self, name):
    """GetMetricData: percentiles are statistics too (CloudWatch statistics definitions); moto fails on them."""
    percentile = re.fullmatch(r"p(\d+(?:\.\d+)?)", name)
    values = sorted(self.metric_single_values_list)
    if not percentile or not values:
        return statistic_of_moto(self, name)
    rank = math.ceil(float(percentile[1]) / 100 * len(values))
    return values[max(rank, 1) - 1]


SegmentCollection.summary = summary
Statistics.get_statistics_for_type = statistic

if __name__ == "__main__":
    main(sys.argv[1:])
