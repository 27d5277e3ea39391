"""Plots as inline SVG: text stays text, colours are the page's CSS variables, nothing points outside."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import matplotlib.ticker
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.report.verdict_file import Interval

_WIDTH = 4.1  # inches; drawn at about the width of a phone, so that text is not scaled down there
_ROW = 0.36  # inches a row of intervals
# Colours that stand for a variable of the page's style, so that light, dark and paper each have their own.
_INK, _MUTED, _GRID, _NEW, _BEFORE = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {_INK: "ink", _MUTED: "muted", _GRID: "line", _NEW: "new", _BEFORE: "before"}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a domain may be called $\frac
    "axes.unicode_minus": True,
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_LONGEST_LABEL = 22


@dataclass(frozen=True)
class Row:
    """A row of `intervals`: a label and up to two figures, each with where it lies."""

    label: str
    new: Interval | None
    before: Interval | None = None
    indented: bool = False


def intervals(rows: Sequence[Row], title: str, unit: str, zero: bool = False) -> Markup:
    """A dot and its interval for each row; the model before is hollow, below the new one.

    Args:
      rows: from top to bottom.
      title: for people who cannot see the plot.
      unit: "%", "points" (of a share, which are given as fractions) or another one.
      zero: whether to draw the line of no difference.
    """
    scale = 100 if unit in ("%", "points") else 1
    two = any(row.before for row in rows)
    with _figure(0.75 + _ROW * len(rows), f"{title}-{unit}-{zero}") as (axes, done):
        for place, row in enumerate(rows):
            shift = 0.14 if two else 0.0
            _dot(axes, row.new, place - shift, scale, _NEW, filled=True)
            _dot(axes, row.before, place + shift, scale, _BEFORE, filled=False)
        if zero:
            axes.axvline(0, color=_MUTED, linewidth=1)
        axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
        axes.tick_params(axis="y", colors=_INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        if zero:
            axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: _signed(value)))
        return done(title)


def _signed(value: float) -> str:
    return f"{value:+.4g}".replace("-", "−") if value else "0"


def _label(row: Row) -> str:
    text = " ".join(row.label.split())
    short = text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"
    return f"· {short}" if row.indented else short


def _dot(axes: Axes, figure: Interval | None, y: float, scale: float, color: str, filled: bool) -> None:
    if figure is None or figure.value is None:
        return
    if figure.low is not None and figure.high is not None:
        axes.plot([figure.low * scale, figure.high * scale], [y, y], color=color, linewidth=2.2)
    face = color if filled else "none"
    axes.plot([figure.value * scale], [y], "o", color=color, markerfacecolor=face, markersize=6.5, markeredgewidth=1.6)


def curves(lines: Mapping[str, Sequence[tuple[int, float]]], title: str, percent: bool = False) -> Markup:
    """Lines over steps; "held out" is the one people look for and is drawn strongest.

    Args:
      lines: (step, value) by name: "training" and "held out".
      percent: whether values are shares.
    """
    with _figure(2.5, title) as (axes, done):
        for name, points in lines.items():
            held_out = name == "held out"
            steps, values = zip(*points, strict=True)
            values = [100 * value for value in values] if percent else values
            style = (
                {"color": _NEW, "linewidth": 2.2, "marker": "o", "markersize": 4} if held_out else {"color": _BEFORE}
            )
            axes.plot(steps, values, zorder=3 if held_out else 2, **style)
        axes.set_xlabel("step")
        axes.margins(x=0.03)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5))
        if percent:
            axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:.4g}%"))
        return done(title)


def bars(heights: Mapping[str, float], title: str, x_label: str) -> Markup:
    """A bar for each name, in the order given."""
    with _figure(2.3, title) as (axes, done):
        axes.bar(range(len(heights)), list(heights.values()), width=0.86, color=_NEW)
        step = max(1, -(-len(heights) // 9))  # labels that fit
        axes.set_xticks(range(0, len(heights), step), list(heights)[::step])
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(x_label)
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
        axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
        return done(title)


@contextmanager
def _figure(height: float, salt: str) -> Iterator[tuple[Axes, Callable[[str], Markup]]]:
    """Axes to draw on, and a function that ends the drawing: description → SVG. Inches."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure.add_subplot(), lambda title: _svg(figure, title)


def _svg(figure: Figure, title: str) -> Markup:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=_METADATA)
    return inline(file.getvalue(), title)


def inline(svg: str, title: str) -> Markup:
    """A drawing of matplotlib's as a part of a page: see the module's first line."""
    svg = svg[svg.index("<svg") :]
    head, body = svg.split(">", 1)
    view = re.search(r'viewBox="([\d. ]+)"', head)
    assert view, "matplotlib writes a viewBox"
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub("|".join(_VARIABLES), lambda match: f"var(--{_VARIABLES[match.group()]})", body)
    return Markup(f'<svg viewBox="{view.group(1)}" role="img" aria-label="{escape(title)}">{body}')
