"""The figures as one table of Markdown with ratios."""

import math


def number(value):
    if value is None or math.isnan(value):
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 or value == 0 else f"{value:.1e}"


def lines(results, first):
    """`results` is {system: {figure: value}}; ratios are of the first system to each other."""
    others = [name for name in results if name != first]
    head = ["figure", first, *(part for name in others for part in (name, f"× {name}"))]
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    figures = list(dict.fromkeys(figure for one in results.values() for figure in one))
    for figure in figures:
        ours = results.get(first, {}).get(figure)
        cells = [figure, number(ours)]
        for name in others:
            theirs = results[name].get(figure)
            comparable = ours is not None and theirs not in (None, 0) and not math.isnan(ours) and not math.isnan(theirs)
            cells += [number(theirs), f"{ours / theirs:.2f}" if comparable else "–"]
        yield "| " + " | ".join(cells) + " |"
