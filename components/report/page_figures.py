"""The figures of a verdict as the page shows them: rows of cells, and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from components.report import plots
from components.report.data import Examples
from components.report.parts import LeftOut
from components.report.training import Curves
from components.report.verdict_file import Interval, TextFigures, Verdict

MOST_PLOTTED = 24  # texts and domains of a plot
MOST_TOLD = 200  # of the table of the main figure
MOST_IN_FULL = 30  # of the table of all others


@dataclass(frozen=True)
class Figure:
    """How a figure is called and written.

    Attributes:
      digits: after the point; of a share, those of its percentage.
      better: 1 where more is better, −1 where less is, 0 where neither.
    """

    key: str
    name: str
    digits: int
    better: int
    is_share: bool = False

    def value(self, number: float) -> str:
        return f"{100 * number:.{self.digits}f}%" if self.is_share else f"{number:,.{self.digits}f}"

    def change(self, number: float) -> str:
        """A difference; of shares in points."""
        return f"{number * (100 if self.is_share else 1):+,.{self.digits}f}".replace("-", "−")


FIGURES = (
    Figure("mlm_accuracy", "MLM accuracy", 2, 1, is_share=True),
    Figure("bits_per_character", "bits per character", 3, -1),
    Figure("mlm_loss", "MLM loss (nats)", 3, -1),
    Figure("perplexity", "perplexity", 2, -1),
    Figure("sop_accuracy", "SOP accuracy", 2, 1, is_share=True),
    Figure("sop_loss", "SOP loss (nats)", 3, -1),
    Figure("unknown_share", "unknown pieces", 2, -1, is_share=True),
    Figure("padding_share", "padding", 1, 0, is_share=True),
)
_BY_KEY = {figure.key: figure for figure in FIGURES}


@dataclass(frozen=True)
class Cell:
    """A value, and below it where it lies; `tone` is "good" or "bad" where a difference is no chance."""

    value: str
    interval: str = ""
    tone: str = ""


NO_CELL = Cell("–")


@dataclass(frozen=True)
class Line:
    """A figure of a text, or of a domain of it, for both models."""

    text: str
    domain: str | None
    documents: int
    examples: int
    figure: Figure
    new: Cell
    before: Cell
    difference: Cell


def main_figure(verdict: Verdict) -> Figure:
    """The figure that models are compared by."""
    return _BY_KEY["bits_per_character" if verdict.comparison == "bits per character" else "mlm_accuracy"]


def figures(verdict: Verdict) -> dict[str, Any]:
    """Tables: `main`, the figure that is compared, and `all`, every other one that was measured."""
    main = main_figure(verdict)
    others = [figure for figure in FIGURES if figure != main]
    told, in_full = (largest(verdict.texts, most) for most in (MOST_TOLD, MOST_IN_FULL))
    return {
        "name": main.name,
        "unit": "points" if main.is_share else main.name,
        "main": [line(text, main) for text in told],
        "main_left_out": len(verdict.texts) - len(told),
        "all": [line(text, f) for text in in_full for f in others if text.of("candidate", f.key)],
        "all_left_out": len(verdict.texts) - len(in_full),
    }


def largest(texts: Sequence[TextFigures], most: int) -> list[TextFigures]:
    """Whole texts, and the largest domains, so many in all; in the order given."""
    whole = [text for text in texts if text.domain is None]
    domains = sorted((text for text in texts if text.domain is not None), key=lambda text: -text.examples)
    kept = {id(text) for text in [*whole, *domains[: max(0, most - len(whole))]]}
    return [text for text in texts if id(text) in kept]


def line(text: TextFigures, figure: Figure) -> Line:
    key = figure.key
    return Line(
        text=text.text,
        domain=text.domain,
        documents=text.documents,
        examples=text.examples,
        figure=figure,
        new=_cell(text.of("candidate", key), figure),
        before=_cell(text.of("baseline", key), figure),
        difference=_difference(text.of("difference", key), figure),
    )


def _cell(found: Interval | None, figure: Figure) -> Cell:
    if found is None or found.value is None:
        return NO_CELL
    ends = [figure.value(end) for end in (found.low, found.high) if end is not None]
    return Cell(figure.value(found.value), _to(ends))


def _difference(found: Interval | None, figure: Figure) -> Cell:
    if found is None or found.value is None:
        return NO_CELL
    ends = [end for end in (found.low, found.high) if end is not None]
    tone = ""
    if len(ends) == 2 and ends[0] * ends[1] > 0 and figure.better:
        tone = "good" if ends[0] * figure.better > 0 else "bad"
    return Cell(figure.change(found.value), _to([figure.change(end) for end in ends]), tone)


def _to(ends: Sequence[str]) -> str:
    if len(ends) < 2:
        return ""
    if ends[0].endswith("%"):
        ends = [ends[0].removesuffix("%"), ends[1]]
    return f"{ends[0]} to {ends[1]}"


# === Plots ===


def interval_plots(verdict: Verdict) -> list[dict[str, Any]]:
    """Values and differences of the figure that is compared, and of the order of sentences."""
    main, order = main_figure(verdict), _BY_KEY["sop_accuracy"]
    texts = _shown(verdict.texts)
    made = [
        _values_plot(texts, main),
        _difference_plot(texts, main),
        _values_plot(texts, order),
        _difference_plot(texts, order),
    ]
    return [plot for plot in made if plot]


def _shown(texts: Sequence[TextFigures]) -> list[TextFigures]:
    """As many as a plot holds. A text's only domain is the whole text again, and is not shown."""
    of_text = Counter(text.text for text in texts)
    return largest([text for text in texts if text.domain is None or of_text[text.text] > 2], MOST_PLOTTED)


def _values_plot(texts: Sequence[TextFigures], figure: Figure) -> dict[str, Any] | None:
    rows = [_row(t, t.of("candidate", figure.key), t.of("baseline", figure.key)) for t in texts]
    unit = "%" if figure.is_share else figure.name
    two = any(row.before for row in rows)
    return _plot(rows, figure.name, unit, "new and before" if two else "new")


def _difference_plot(texts: Sequence[TextFigures], figure: Figure) -> dict[str, Any] | None:
    rows = [_row(text, text.of("difference", figure.key)) for text in texts]
    unit = "points" if figure.is_share else figure.name
    return _plot(rows, f"Change of {figure.name}", unit, "difference", zero=True)


def _row(text: TextFigures, new: Interval | None, before: Interval | None = None) -> plots.Row:
    return plots.Row(text.domain if text.domain is not None else text.text, new, before, text.domain is not None)


def _plot(rows: Sequence[plots.Row], title: str, unit: str, shows: str, zero: bool = False) -> dict[str, Any] | None:
    rows = [row for row in rows if row.new or row.before]
    if not rows:
        return None
    return {"title": title, "shows": shows, "svg": plots.intervals(rows, title, unit, zero)}


_CURVES = {
    "mlm_accuracy": ("MLM accuracy", True),
    "mlm_loss": ("MLM loss, nats a prediction", False),
    "sop_accuracy": ("SOP accuracy", True),
    "sop_loss": ("SOP loss, nats", False),
}


def curve_plots(curves: Curves | LeftOut) -> list[dict[str, Any]]:
    if isinstance(curves, LeftOut):
        return []
    return [
        {"title": title, "svg": plots.curves(curves.of[name], title, percent)}
        for name, (title, percent) in _CURVES.items()
        if name in curves.of
    ]


def length_plot(examples: Examples | LeftOut) -> Markup | None:
    """How many examples have up to so many pieces."""
    if isinstance(examples, LeftOut) or not examples.lengths:
        return None
    heights = {str(bound): float(count) for bound, count in sorted(examples.lengths.items())}
    return plots.bars(heights, "examples by length", "pieces, up to")
