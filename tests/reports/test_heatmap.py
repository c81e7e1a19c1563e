import base64
import io
import re

import numpy as np
import pytest

from harness.reports.chart_style import NO_MARKS, Chart, LegendEntry, LimitLine, TimeMarks
from harness.reports.heatmap import LEAST_ROWS, MOST_ROWS, RAMPS, heat_map
from harness.results.histogram import Histogram
from tests.results.test_histogram import of, wide


def _histogram(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def _map(
    by_second: dict[int, Histogram], span: tuple[int, int], *limits: LimitLine, marks: TimeMarks = NO_MARKS
) -> Chart:
    return heat_map("TTFT", "heat", by_second, span, limits, marks, counted_in="in which it came")


def _pictures(chart: Chart) -> dict[str, np.ndarray]:
    """The pixels by theme, 0 to 255, top row first."""
    pictures = {}
    for tag in re.findall(r"<image[^>]*>", chart.svg):
        (data,) = re.findall(r'href="data:image/png;base64,([^"]*)"', tag)
        (theme,) = re.findall(r'class="(\w+)"', tag)
        from matplotlib import image

        pixels = (image.imread(io.BytesIO(base64.b64decode(data))) * 255).round().astype(int)
        (flip,) = re.findall(r'transform="matrix\(\S+ 0 0 (\S+) ', tag)
        pictures[theme] = pixels[::-1] if float(flip) < 0 else pixels
    return pictures


def _hex(pixel: np.ndarray) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in pixel[:3])


def test_every_value_is_in_one_cell_of_its_second() -> None:
    chart = _map({100: _histogram(*[10.0] * 9, 40.0), 102: _histogram(40.0)}, (100, 103))
    (high, low) = chart.rows
    assert (low[1:], high[1:]) == (("9", "9", "0"), ("2", "1", "0"))
    for row, value in ((low, 10.0), (high, 40.0)):
        lower, upper = (float(end.removesuffix(" ms")) for end in row[0].split(" to "))
        assert lower < value <= upper


def test_the_picture_has_a_pixel_a_cell_in_the_colours_of_the_count() -> None:
    chart = _map({100: _histogram(*[10.0] * 9, 40.0), 102: _histogram(40.0)}, (100, 103))
    pictures = _pictures(chart)
    assert set(pictures) == {"light", "dark"}
    for theme, pixels in pictures.items():
        assert pixels.shape[1] == 4
        filled = [(int(row), int(column)) for row, column in np.argwhere(pixels[..., 3] > 0)]
        assert [column for _, column in filled] == [0, 2, 0]  # 40 ms is above 10 ms
        assert filled[0][0] == filled[1][0] < filled[2][0]
        assert [_hex(pixels[place]) for place in filled] == [
            RAMPS[theme][0],
            RAMPS[theme][0],
            RAMPS[theme][-1],
        ]


def test_seconds_share_a_column_when_there_are_many() -> None:
    chart = _map({second: _histogram(5.0) for second in range(320)}, (0, 319))
    assert _pictures(chart)["light"].shape[1] == 160
    assert chart.rows == ((chart.rows[0][0], "320", "2", "0"),)
    assert "per 2 s interval" in chart.caption


@pytest.mark.parametrize("values", [(3.0,), (0.0,), (0.001, 1e8), tuple(1.02**n for n in range(900))])
def test_any_range_of_values_makes_a_bounded_picture_that_holds_them_all(values: tuple[float, ...]) -> None:
    chart = _map({7: _histogram(*values)}, (7, 7))
    assert 6 <= len(_pictures(chart)["light"]) <= MOST_ROWS
    assert sum(int(row[1].replace(",", "")) for row in chart.rows) == len(values)
    labels = re.findall(r"<text[^>]*>([\d.]+ (?:µs|ms|s|min|h)[^<]*)</text>", chart.svg)
    assert labels


def test_rows_grow_with_the_values() -> None:
    few = _pictures(_map({0: _histogram(1.0, 1000.0)}, (0, 0)))["light"]
    many = _pictures(_map({0: _histogram(*np.geomspace(1, 1000, 5000))}, (0, 0)))["light"]
    assert len(few) <= LEAST_ROWS + 1 < len(many) <= MOST_ROWS


def test_the_wide_buckets_of_an_older_file_leave_no_empty_rows() -> None:
    """Values evenly spread in the logarithm, of which two in three of today's buckets would be empty."""
    values = np.geomspace(100.0, 400.0, 20_000).tolist()
    for make in (of, wide):
        table = _map({0: make(values)}, (0, 0)).rows
        counts = [int(row[1].replace(",", "")) for row in table]
        assert len(counts) > LEAST_ROWS
        assert min(counts[1:-1]) > 0.6 * max(counts)


def test_a_near_limit_is_drawn_and_a_far_one_is_in_the_legend() -> None:
    near, far = LimitLine("ttft_p95_ms", 95, 30.0), LimitLine("ttft_max_ms", 100, 9000.0)
    chart = _map({0: _histogram(10.0)}, (0, 0), near, far)
    assert chart.legend[1:] == (
        LegendEntry("limit", "dotted", "limit ttft_p95_ms = 30 ms"),
        LegendEntry("limit", "dotted", "limit ttft_max_ms = 9 s, outside the chart"),
    )
    assert chart.svg.count("stroke-limit") == 1


def test_the_text_alternative_describes_the_fullest_cell() -> None:
    chart = _map({100: _histogram(1.0), 104: _histogram(*[10.0] * 3)}, (100, 109), marks=TimeMarks(2))
    assert re.search(
        r"The fullest cell has 3 values of [\d.]+ ms to [\d.]+ ms, 4 s after the start\.", chart.svg
    )
    assert chart.legend[-1].label == "warm-up, excluded from the metrics"
