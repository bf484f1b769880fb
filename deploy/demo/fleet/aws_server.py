"""moto_server with its answers in the form that AWS documents, where moto's own form is one that no AWS SDK reads.

Takes moto_server's arguments.
"""

import sys

from moto.server import main
from moto.xray.models import SegmentCollection

summary_of_moto = SegmentCollection.summary


def summary(self, *arguments, **named):
    """GetTraceSummaries: Users is a list (API reference, type TraceSummary); moto answers an object."""
    answer = summary_of_moto(self, *arguments, **named)
    for found in answer["TraceSummaries"]:
        found["Users"] = []
    return answer


SegmentCollection.summary = summary

if __name__ == "__main__":
    main(sys.argv[1:])
