"""The data documentation site: what it says, and that it works from a folder without a server."""

import json
import re

import pytest
from test_dashboard import CHROMIUM, chromium  # noqa: F401

YAML = """project: shop
listen: 127.0.0.1:0
streams: {web: {dedupe: id}}
"""
VISITS = """/* cupel
kind: stream
key: [id]
description: "Visits <b>of</b> the shop"
columns: {id: Number of the visit, page: Where}
owner: marketing
tags: [web]
*/
SELECT _event_id, _received_at, payload->>'id' AS id, payload->>'page' AS page FROM bronze.web
"""
PAGES = """/* cupel
kind: full
description: Visits by page
*/
SELECT page, count(*) AS visits FROM shop.visits GROUP BY page
"""
SUITE = """table: shop.visits
expectations:
  - expect_column_values_to_not_be_null: {column: page}
"""


def site(project, tmp_path):
    made = json.loads(project.cli("docs", "-o", str(tmp_path / "site"), "--json").stdout)
    text = (tmp_path / "site/data.js").read_text()
    data = json.loads(re.fullmatch(r"window\.cupelDocs = (.*);\n", text, re.S).group(1))
    assert made["tables"] == len(data["tables"])
    return data, {t["name"]: t for t in data["tables"]}


@pytest.fixture
def shop(make_project):
    project = make_project(yaml=YAML, start=False)
    (project.dir / "models/shop").mkdir(parents=True)
    (project.dir / "expectations").mkdir(exist_ok=True)
    (project.dir / "models/shop/visits.sql").write_text(VISITS)
    (project.dir / "models/shop/pages.sql").write_text(PAGES)
    (project.dir / "expectations/shop.visits.yaml").write_text(SUITE)
    project.start()
    project.post_ndjson("web", [{"id": 1, "page": "/a"}, {"id": 2, "page": "/b"}, {"id": 3}])
    project.cli("flow", "run")
    return project


def test_everything_is_told(shop, tmp_path):
    data, tables = site(shop, tmp_path)
    assert data["project"] == "shop" and data["timezone"] == "UTC"
    visits, pages = tables["shop.visits"], tables["shop.pages"]
    assert visits["owner"] == "marketing" and visits["tags"] == ["web"] and visits["inputs"] == ["bronze.web"] and visits["file"] == "models/shop/visits.sql"
    columns = {c["name"]: c for c in visits["columns"]}
    assert columns["id"]["description"] == "Number of the visit" and columns["id"]["from"] == ["bronze.web.payload"]
    assert {c["name"]: c.get("from", []) for c in pages["columns"]} == {"page": ["shop.visits.page"], "visits": []}
    assert visits["rows"] == 2 and visits["checks"][0]["unexpected"] == 1
    assert visits["freshness"] and visits["last_run"]["status"] == "done"
    assert "bronze.web" in tables and "quarantine.shop__visits" in tables


def test_without_models(make_project, tmp_path):
    project = make_project(yaml=YAML)
    _, tables = site(project, tmp_path)
    assert list(tables) == ["bronze.web"]


def test_a_folder_that_cannot_be_written(shop):
    (shop.dir / "file").write_text("")
    failed = shop.cli("docs", "-o", str(shop.dir / "file/below"), check=False)
    assert failed.returncode == 1 and "file" in failed.stderr


def test_the_site_works_from_a_folder(shop, tmp_path, chromium):  # noqa: F811
    site(shop, tmp_path)
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    errors, elsewhere = [], []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else elsewhere.append(r.url))
    page.goto((tmp_path / "site/index.html").as_uri())
    page.wait_for_selector("h1:has-text('Data of shop')")
    page.fill("input[type=search]", "visits")
    page.click("td a:has-text('shop.visits')")
    page.wait_for_selector("h1:has-text('shop.visits')")
    text = page.inner_text("main")
    assert "Visits <b>of</b> the shop" in text and "Number of the visit" in text and "expect_column_values_to_not_be_null" in text and "bronze.web.payload" in text
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert errors == [] and elsewhere == []
    page.close()
