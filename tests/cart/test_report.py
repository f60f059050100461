"""Tests of cart.report."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cart.report import (
    CandidateRow,
    HandRow,
    InteractionRow,
    NoticeRow,
    ReceiptLineRow,
    ReceiptRow,
    ReplayReport,
    VisitRow,
    render_report,
    write_report,
)
from tracking.types import WeightChange
from vision.shelf import Handling

VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}
HOSTILE = "</title></script><img src=x onerror=alert(1)> \"'&\x00\x1b\u202e Jam"


class Page(HTMLParser):
    """Reads a page strictly: every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, tag: str, name: str) -> list[str]:
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


def a_weight_change(samples: int = 300) -> WeightChange:
    times = np.linspace(6, 11, samples)
    grams = np.where(times < 8, 0.0, -623.0) + np.sin(40 * times)
    return WeightChange(
        ("1/5/11",), -623.4, 1.3, 7_600_000_000, 8_000_000_000, 8_400_000_000, (times * 1e9).astype(np.int64), grams
    )


def an_interaction(t_s: float = 8.0, **changes: object) -> InteractionRow:
    row = InteractionRow(
        Handling.PICK,
        t_s,
        t_s - 0.5,
        t_s + 0.5,
        "gondola 1, shelf 5, plate 11",
        "Spring Water",
        1,
        (CandidateRow("Ada", "Spring Water", 1, 0.93), CandidateRow("Ben", "Spring Water", 1, 0.04)),
        charged_to="Ada",
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def a_report(**changes: object) -> ReplayReport:
    report = ReplayReport(
        title="one visit",
        start_ns=0,
        media_s=20.0,
        wall_s=0.5,
        frames=200,
        visits=(VisitRow("Ada", 1.0, 15.0, "charged"), VisitRow("Ben", 2.0, 16.0, "needs_review")),
        interactions=(an_interaction(weight=a_weight_change()),),
        receipts=(
            ReceiptRow("Ada", "charged", "USD", 238, (ReceiptLineRow("Spring Water", "071142008582", 2, 238),), "R-1"),
            ReceiptRow(
                "Ben",
                "needs_review",
                "USD",
                None,
                (ReceiptLineRow("Cake", "2000000001173", 1, None),),
                reasons=("The price of Cake is not known.",),
            ),
        ),
        hands=(HandRow("Ada", "1/5/11", 7.5, 8.5),),
        notices=(NoticeRow("plates", "duplicate-message", "Message 17 came twice; the second was left out."),),
        remarks=("All receipts are right.",),
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def test_the_page_is_one_file_in_a_folder_made_for_it(tmp_path: Path) -> None:
    page = write_report(a_report(), tmp_path / "deep" / "report")
    assert page == tmp_path / "deep" / "report" / "index.html"
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    assert Page(page.read_text(encoding="utf-8")).text.startswith("one visit")


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        write_report(a_report(), tmp_path / "taken")


def test_the_page_tells_the_whole_story() -> None:
    text = Page(render_report(a_report())).text
    for expected in (
        "20.0 s",
        "40 times real time",
        "200 pictures",
        "2.38 USD",
        "Ben : The price of Cake is not known.",
        "2 \u00d7 1.19 · 071142008582",
        "no price",
        "8.0 s · Ada took 1 \u00d7 Spring Water",
        "93 % sure",
        "gondola 1, shelf 5, plate 11",
        "in the cart of Ada",
        "Plate 1/5/11: \u2212623 g ± 1.3 g",
        "nobody, or not known 3 %",
        "duplicate-message",
        "All receipts are right.",
        "Receipt R-1",
    ):
        assert expected in text, expected


def test_every_interaction_is_on_the_timeline_and_below_it() -> None:
    rows = tuple(
        an_interaction(
            float(k),
            kind=Handling.PICK if k % 3 else Handling.PUT_BACK,
            candidates=() if k % 4 == 0 else (CandidateRow("Ben", "Tea", 2, 0.4),),
            charged_to="",
        )
        for k in range(1, 20)
    )
    page = Page(render_report(a_report(interactions=rows)))
    ids = [value for value in page.values("article", "id") if value]
    links = [value for value in page.values("a", "href") if value.startswith("#i") and value[2:].isdigit()]
    assert ids == [f"i{k}" for k in range(1, 20)]
    assert sorted(links) == sorted(f"#{value}" for value in ids)
    assert "not attributed" in page.text
    assert "Put back by nobody known" in page.text


def test_nothing_is_fetched_from_anywhere() -> None:
    pictures = np.full((40, 60, 3), 120, np.uint8)
    html = render_report(a_report(interactions=(an_interaction(before=pictures, after=pictures, picture=pictures),)))
    page = Page(html)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "iframe" not in page.tags
    sources = page.values("img", "src")
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert all(href.startswith("#") for href in page.values("a", "href"))
    assert not re.search(r"(?:https?:)?//|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]*", "", html))


def test_hostile_names_stay_text() -> None:
    row = an_interaction(
        product=HOSTILE,
        place=HOSTILE,
        candidates=(CandidateRow(HOSTILE, HOSTILE, 1, 0.9),),
        charged_to=HOSTILE,
        picture=np.zeros((4, 4, 3), np.uint8),
        weight=replace(a_weight_change(), plate_ids=(HOSTILE,)),
    )
    report = ReplayReport(
        HOSTILE,
        0,
        20.0,
        1.0,
        0,
        (VisitRow(HOSTILE, 0.0, 9.0, HOSTILE),),
        (row,),
        (ReceiptRow(HOSTILE, HOSTILE, "USD", 1, (ReceiptLineRow(HOSTILE, HOSTILE, 1, 1),), HOSTILE, 0, (HOSTILE,)),),
        (HandRow(HOSTILE, HOSTILE, 1.0, 2.0),),
        (NoticeRow(HOSTILE, HOSTILE, HOSTILE),),
        (HOSTILE,),
    )
    html = render_report(report)
    page = Page(html)
    assert page.tags.count("img") == 1
    assert page.tags.count("title") == Page(render_report(replace(report, title="calm"))).tags.count("title")
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "\x00" not in html
    assert "\x1b" not in html
    assert "alert(1)" in page.text


def test_a_name_that_is_no_unicode_can_still_be_written(tmp_path: Path) -> None:
    page = write_report(a_report(title="broken \udcff name"), tmp_path)
    assert "broken ? name" in page.read_text(encoding="utf-8")


def test_every_picture_and_drawing_has_words() -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    page = Page(
        render_report(a_report(interactions=(an_interaction(weight=a_weight_change(), before=picture, after=picture),)))
    )
    assert all(page.values("img", "alt"))
    assert len(page.values("img", "alt")) == 2
    drawings = page.tags.count("svg")
    named = len(page.values("svg", "aria-label")) + len(page.values("svg", "aria-hidden"))
    assert drawings == named
    assert ("html", "lang", "en") in page.attributes
    assert page.tags.count("h1") == 1
    assert ("div", "tabindex", "0") in page.attributes


def test_an_empty_recording_gives_a_page_that_says_so() -> None:
    page = Page(render_report(ReplayReport("nothing", 0, 0.0, float("nan"), 0)))
    for expected in ("Nobody was in the store.", "No visit was closed", "Nothing was taken or put back."):
        assert expected in page.text
    assert "Replayed in" not in page.text


def test_absent_numbers_are_not_drawn() -> None:
    report = a_report(visits=(VisitRow("Ada", 1.0, float("nan"), "charged"),), media_s=20.0)
    html = render_report(report)
    assert not re.search(r'="[^"]*\b(?:nan|inf)\b', html)
    assert "to the end" in Page(html).text


def test_a_weight_curve_shows_its_step_and_stays_inside_its_frame() -> None:
    html = render_report(a_report(interactions=(an_interaction(weight=a_weight_change(20_000)),)))
    (points,) = re.findall(r'<polyline points="([^"]*)"', html)
    xy = np.array([pair.split(",") for pair in points.split()], float)
    assert len(xy) <= 500
    assert (np.diff(xy[:, 0]) >= 0).all()
    assert ((xy >= 0) & (xy <= [560, 190])).all()
    (step_x,) = re.findall(r'class="step" x1="([\d.]+)"', html)
    left, right = xy[xy[:, 0] < float(step_x) - 5, 1], xy[xy[:, 0] > float(step_x) + 5, 1]
    assert left.max() < right.min()


def test_a_spike_of_a_long_curve_is_kept() -> None:
    change = a_weight_change(20_000)
    change.curve_g[12_345] = 900.0
    (points,) = re.findall(
        r'<polyline points="([^"]*)"', render_report(a_report(interactions=(an_interaction(weight=change),)))
    )
    heights = np.array([pair.split(",")[1] for pair in points.split()], float)
    assert (heights < np.median(heights) - 60).sum() >= 1


def test_a_weight_change_without_a_curve_still_has_its_numbers() -> None:
    change = replace(a_weight_change(), curve_ns=np.zeros(0, np.int64), curve_g=np.zeros(0))
    assert "\u2212623 g ± 1.3 g" in Page(render_report(a_report(interactions=(an_interaction(weight=change),)))).text


@pytest.mark.parametrize(("probability", "words"), [(1.0, "100 % sure"), (0.999, "> 99 % sure"), (0.001, "< 1 % sure")])
def test_near_certainty_is_not_rounded_to_certainty(probability: float, words: str) -> None:
    row = an_interaction(candidates=(CandidateRow("Ada", "Spring Water", 1, probability),))
    assert words in Page(render_report(a_report(interactions=(row,)))).text


def test_long_recordings_count_in_minutes() -> None:
    text = Page(render_report(a_report(media_s=3600.0, interactions=(an_interaction(1859.98),)))).text
    assert "31:00.0 · Ada took" in text
    assert "60.0 min" in text


def test_sums_are_kept_apart_by_currency() -> None:
    receipts = (
        ReceiptRow("Ada", "charged", "USD", 100),
        ReceiptRow("Ben", "charged", "JPY", 250),
        ReceiptRow("Cleo", "charged", "USD", 5),
    )
    assert "1.05 USD + 250 JPY" in Page(render_report(a_report(receipts=receipts))).text


def test_an_item_that_nobody_known_took_is_no_good_reason_to_say_that_all_is_well() -> None:
    paid = a_report().receipts[:1]
    assert "nothing is in doubt" in Page(render_report(a_report(receipts=paid))).text
    lost = (an_interaction(), an_interaction(9.0, candidates=(), charged_to=""))
    text = Page(render_report(a_report(receipts=paid, interactions=lost))).text
    assert "nothing is in doubt" not in text
    assert "1 interaction is nobody's" in text


def test_a_receipt_needs_a_real_currency() -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        ReceiptRow("Ada", "charged", "$", 100)


def test_large_pictures_are_made_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3)).astype(np.uint8)
    html = render_report(a_report(interactions=(an_interaction(picture=noise),)))
    assert len(html) < 900_000
