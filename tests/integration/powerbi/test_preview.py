"""`tickhouse powerbi --preview`: pictures of the pages with real rows of gold."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import vl_convert

from app.embedded.environment import child_environment
from app.powerbi import deneb
from app.powerbi.gold import published_gold, rows_of
from app.powerbi.layout import ReportPage
from app.powerbi.preview import PreviewError, page_svg, write_previews
from app.powerbi.queries import answer, chosen
from app.powerbi.report import HEIGHT, PAGES, WIDTH
from app.settings import Settings
from tests.support import TICKHOUSE

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def size_of(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_command_draws_every_page(market: Settings, tmp_path: Path) -> None:
    subprocess.run(
        [TICKHOUSE, "powerbi", "--preview", str(tmp_path), "--symbol", "NVDA"],
        env=child_environment(market),
        check=True,
    )

    for page in PAGES:
        picture = (tmp_path / f"powerbi-{page.key}.png").read_bytes()
        assert picture.startswith(SIGNATURE)
        width, height = size_of(picture)
        assert width == WIDTH
        assert height >= HEIGHT
        assert len(picture) > 20_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.key)
def test_page_shows_every_visual_with_values_of_gold(gold_file: Path, page: ReportPage) -> None:
    with published_gold(gold_file) as gold:
        (kpi,) = rows_of(gold, "from gold.gold_kpi where symbol = 'NVDA'")
        drawing = page_svg(page, chosen("NVDA"), lambda sql: rows_of(gold, sql))

    for visual in page.visuals:
        assert not visual.title or f">{visual.title}<" in drawing
    assert page.key == "quality" or f">{kpi['current_price']:,.2f}<" in drawing
    assert "no data" not in drawing
    assert "NaN" not in drawing
    assert "…" not in re.sub(r">BINANCE:[^<]*<", "", drawing)


def test_candles_of_deneb_are_drawn_in_both_colours_by_vega_lite(gold_file: Path) -> None:
    ((page, visual),) = [(p, v) for p in PAGES for v in p.visuals if v.type == deneb.VISUAL_TYPE]
    with published_gold(gold_file) as gold:
        shown = answer(page, visual, chosen("NVDA", "15m"), lambda sql: rows_of(gold, sql))
    spec = deneb.spec() | {"datasets": {"dataset": json.loads(json.dumps(shown.rows, default=str))}}
    drawn = vl_convert.vegalite_to_svg(spec, vl_version="6.4", config=deneb.config())
    rising = sum(row["Close"] >= row["Open"] for row in shown.rows)

    assert len(re.findall('aria-roledescription="bar"', drawn)) == 2 * len(shown.rows)
    for color, count in (("#0b7a5b", rising), ("#c22f45", len(shown.rows) - rising)):
        assert len(re.findall(f'aria-roledescription="bar"[^>]*fill="{color}"', drawn)) == count


def test_unknown_symbol_is_named_with_those_that_gold_has(gold_file: Path, tmp_path: Path) -> None:
    with pytest.raises(PreviewError, match=r"no candles of NONE; it has .*NVDA"):
        write_previews(tmp_path, gold_file, "NONE")


def test_without_gold_the_command_reports_what_to_do(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, tickhouse_data_dir=tmp_path)  # type: ignore[call-arg]
    done = subprocess.run(
        [TICKHOUSE, "powerbi", "--preview", str(tmp_path / "p")],
        env=child_environment(settings),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "run `tickhouse load` first" in done.stderr
