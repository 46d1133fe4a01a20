"""The tour, small: one page that holds what was measured."""

import json

import pytest

from lossatlas.page import tour


@pytest.mark.slow
def test_the_tour_writes_a_page_with_its_pictures_and_numbers(tmp_path):
    lines = []
    record = tour(tmp_path / "atlas", points=5, runs=20, say=lines.append)
    page = (tmp_path / "atlas" / "index.html").read_text()
    pictures = [p.name for p in (tmp_path / "atlas").glob("*.png")]
    assert len(pictures) >= 6
    for name in pictures:
        assert f'src="{name}"' in page and (tmp_path / "atlas" / name).stat().st_size > 5000
    assert record["network"]["test_accuracy"] > 0.97
    assert f"{record['network']['test_accuracy']:.1%}" in page
    for racer in record["wells"]["one"]["racers"].values():
        assert racer["sentence"].replace("'", "&#x27;") in page
    assert "<script" not in page and "http:" not in page and "https:" not in page
    atlas = (tmp_path / "atlas" / "atlas.html").read_text()
    assert record["wells"]["one"]["racers"]["gd"]["sentence"] in atlas and "<script>" in atlas
    size = sum(path.stat().st_size for path in (tmp_path / "atlas").rglob("*") if path.is_file())
    assert size <= 5_000_000 and len(atlas.encode()) <= 2_000_000
    assert "C2: Four wells" in atlas
    json.loads((tmp_path / "atlas" / "tour.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert any("accuracy" in line for line in lines)
