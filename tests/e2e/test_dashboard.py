"""The dashboard in a real Chromium: every page in light and dark, on a wide and a narrow screen, with keyboard, without a request to anywhere else."""

import json
import os
import re
import shutil
import subprocess
from urllib.parse import unquote

import lib
import pytest
from playwright import sync_api as playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SIZES = {"wide": (1280, 900), "narrow": (360, 740)}
PAGES = ["", "kpi/sales", "kpi/marketing", "kpi/operations", "kpi/support", "flows", "streams", "tables", "tables/bronze.web", "quarantine", "events", "sql"]


@pytest.fixture(scope="module")
def chromium():
    assert CHROMIUM, "Debian's chromium is missing (tools/setup test)"
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=120_000)
        yield browser
        browser.close()


class Tab:
    """A page of the dashboard that remembers what went wrong in it and where it sent requests."""

    def __init__(self, browser, project, size="wide", theme="light", token=True):
        width, height = SIZES[size]
        self.width = width
        self.base = project.url
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        self.context.set_default_timeout(90_000)
        self.page = self.context.new_page()
        self.errors, self.elsewhere = [], []
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        # answers of 400 and 404 are expected for tables that are not built; everything else that the console calls an error is one
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" and "the server responded with a status of 4" not in m.text else None)
        self.page.on("request", lambda r: None if r.url.startswith((self.base + "/", "data:", "blob:")) else self.elsewhere.append(r.url))
        self.page.goto(f"{self.base}/#token={project.token}" if token else self.base + "/")

    def open(self, path, until="main h1"):
        self.page.goto(f"{self.base}/#/{path}")
        self.page.wait_for_selector(f'main[data-page="{unquote(path)}"]')
        self.page.wait_for_selector(until)
        self.page.wait_for_load_state("networkidle")

    def sound(self):
        assert self.errors == [] and self.elsewhere == []
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.width, "wider than the screen"

    def close(self):
        self.context.close()


@pytest.fixture
def tab(chromium, request):
    opened = []

    def make(project, **options):
        opened.append(Tab(chromium, project, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def busy(project):
    project.post_ndjson("web", [{"event_id": f"e{i}", "session_id": f"s{i % 7}", "page": "/p"} for i in range(50)])
    project.post("orders", {"name": "<img src=x onerror=document.title='owned'>"})
    return project


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_drawn(busy, tab, size, theme):
    one = tab(busy, size=size, theme=theme)
    for path in PAGES:
        one.open(path)
        assert "cannot be shown" not in one.page.inner_text("main"), path
        one.sound()
    assert one.page.evaluate("document.documentElement.dataset.theme") == theme


def test_numbers_are_the_servers(busy, tab):
    one = tab(busy)
    one.open("streams")
    card = one.page.locator("section.card", has_text="web").first
    assert "50 events" in card.inner_text()
    one.open("")
    assert "51" in one.page.locator(".tile", has_text="events received").inner_text()
    one.sound()


def test_token_is_asked_for_and_leaves_the_address(busy, tab):
    one = tab(busy, token=False)
    one.page.fill("#token", "not-a-token")
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("form .badge.bad")
    one.page.fill("#token", busy.token)
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("main h1:has-text('Overview')")
    other = tab(busy)
    other.page.wait_for_selector("main h1:has-text('Overview')")
    assert "token" not in other.page.url


def test_a_revoked_token_asks_again(busy, tab):
    made = busy.cli("token", "create", "viewer", "--role", "read", "--json")
    one = tab(busy, token=False)
    one.page.fill("#token", json.loads(made.stdout)["token"])
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("main h1:has-text('Overview')")
    busy.cli("token", "revoke", "viewer")
    one.page.wait_for_selector("#token")


def test_sql_by_keyboard(busy, tab):
    one = tab(busy)
    one.open("sql", until="#query")
    one.page.fill("#query", "SELECT session_id, count(*) AS n FROM (SELECT payload->>'session_id' AS session_id FROM bronze.web) GROUP BY 1 ORDER BY 1")
    one.page.focus("#query")
    one.page.keyboard.press("Control+Enter")
    one.page.wait_for_selector("main table")
    assert one.page.locator("main tbody tr").count() == 7
    assert one.page.locator(".bars .bar").count() == 7
    one.page.fill("#query", "SELECT nothing FROM nowhere")
    one.page.keyboard.press("Control+Enter")
    one.page.wait_for_selector("[role=alert]")
    assert "nowhere" in one.page.inner_text("[role=alert]")
    one.page.fill("#query", "SELECT 9007199254740993 AS big, 0.1::DECIMAL(18,4) AS money")
    one.page.keyboard.press("Control+Enter")
    one.page.wait_for_selector("td:has-text('9007199254740993')")
    one.sound()


def test_pages_are_reached_by_keyboard_alone(busy, tab):
    one = tab(busy)
    one.open("")
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        one.page.keyboard.press("Tab")
        if one.page.evaluate("document.activeElement.textContent") == "Tables":
            break
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("main h1:has-text('Tables')")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    one.page.keyboard.press("Tab")
    assert one.page.evaluate(outline) != "none"


def test_data_never_becomes_markup(busy, tab):
    one = tab(busy)
    one.open("sql/" + "SELECT%20payload%20FROM%20bronze.orders", until="main table")
    assert "onerror" in one.page.inner_text("main table")
    assert one.page.locator("main img").count() == 0 and one.page.title() != "owned"
    one.open("sql/" + "SELECT%20chr(8238)%20||%20'gnp.exe'%20AS%20name", until="main td:has-text('gnp.exe')")
    assert one.page.inner_text("main td") == r"\u202Egnp.exe"
    one.sound()


def luminance(rgb):
    channels = [c / 255 for c in rgb]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(busy, tab, theme):
    """WCAG AA: 4.5 for text on both grounds."""
    one = tab(busy, theme=theme)
    one.open("")
    names = ["--page", "--card", "--text", "--dim", "--accent", "--good", "--bad", "--warn"]
    values = one.page.evaluate("names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())", names)
    colour = {n: luminance([int(v[i : i + 2], 16) for i in (1, 3, 5)]) for n, v in zip(names, values) if re.fullmatch("#[0-9a-f]{6}", v)}
    assert len(colour) == len(names)
    for ground in ("--page", "--card"):
        for text in names[2:]:
            high, low = sorted((colour[ground], colour[text]), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ground, text)


def test_server_away_and_back(busy, tab):
    one = tab(busy)
    one.open("streams")
    busy.kill9()
    one.page.wait_for_selector("header .badge.bad")
    assert one.page.locator("main h1").inner_text() == "Streams"  # what was shown stays


# ---- flows and KPIs ----

MORNING = 1_741_000_000


def asked(project, query):
    """Rows; None while the table is not there yet."""
    answer = project.request("POST", "/v1/sql", json={"query": query, "format": "json"})
    return answer.json() if answer.status_code == 200 else None


@pytest.fixture
def shop(make_project, tmp_path):
    """The retail template with a morning of web events and contacts, all models up to date."""
    subprocess.run([str(lib.CUPEL), "init", str(tmp_path / "shop"), "--template", "retail"], check=True, capture_output=True)
    yaml = (tmp_path / "shop/cupel.yaml").read_text().replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0")
    project = make_project(yaml=yaml, name="shop")
    kinds = ("page_view", "click", "scroll")
    events = [{"session_id": f"s{i // 5}", "user_id": i % 9, "page": "/p/1", "event_type": kinds[i % 3], "timestamp": MORNING + i * 60 + (i % 4) * 86_400} for i in range(200)]
    project.post_ndjson("web_traffic", [*events, {"session_id": "", "page": "/p", "timestamp": MORNING}])
    project.post_ndjson("crm_interactions", [{"customer_id": i, "interaction_type": "loyalty", "rating": 1 + i % 5, "timestamp": MORNING + i * 600} for i in range(50)])
    built = "SELECT count(*) AS n FROM cupel.freshness WHERE as_of_event IS NOT NULL AND \"table\" IN ('support.feedback_score', 'marketing.sessions', 'marketing.loyalty_activity')"
    lib.wait_until(lambda: asked(project, built) == [{"n": 3}], timeout_s=60, what="KPIs")
    return project


@pytest.mark.parametrize("size", SIZES)
def test_kpis_are_drawn_with_freshness_and_accounts(shop, tab, size):
    one = tab(shop, size=size)
    one.open("kpi/marketing")
    card = one.page.locator("section.card", has_text="Engagement score").first
    card.locator("canvas").first.wait_for()
    assert "received" in card.locator(".badges").inner_text() and "adds up" in card.locator(".badges").inner_text()
    drawn = "[...document.querySelectorAll('figure.plot')].every(f => f.querySelector('canvas') && f.querySelector('.legend b'))"
    one.page.wait_for_function(drawn)
    last = shop.sql("SELECT engagement_score_pct AS p FROM marketing.engagement ORDER BY day DESC LIMIT 1")[0]["p"]
    assert f"{float(last):g} %" in card.inner_text()
    one.sound()
    one.page.click("button[aria-label='Light or dark']")
    one.page.wait_for_function(f"document.documentElement.dataset.theme === 'dark' && {drawn}")
    one.open("flows", until=".node")
    assert one.page.locator(".node").count() > 30
    one.open("quarantine/silver.web_events")
    assert "session_id" in one.page.inner_text("main")
    one.sound()


MODELS = {
    "good": "/* cupel\nkind: stream\n*/\nSELECT _event_id, _received_at, payload->>'page' AS page FROM bronze.web",
    "bad": "/* cupel\nkind: full\n*/\nSELECT count(*) AS n, count(CASE WHEN page = '/boom' THEN error('the page exploded') END) AS booms FROM shop.good",
}


def test_a_model_that_fails_is_shown_with_its_reason(make_project, tab):
    project = make_project(start=False)
    (project.dir / "models/shop").mkdir(parents=True)
    for name, sql in MODELS.items():
        (project.dir / f"models/shop/{name}.sql").write_text(sql)
    project.start()
    project.post("web", {"event_id": 1, "page": "/a"})
    lib.wait_until(lambda: asked(project, "SELECT n FROM shop.bad") == [{"n": 1}], what="both models")
    one = tab(project)
    one.open("flows")
    project.post("web", {"event_id": 2, "page": "/boom"})
    one.page.wait_for_selector(".node.failed[aria-label^='shop.bad']")
    assert project.sql("SELECT n FROM shop.bad") == [{"n": 1}] and project.value("SELECT count(*) FROM shop.good") == 2
    one.page.click(".node.failed")
    one.page.wait_for_selector("[role=alert]")
    assert "the page exploded" in one.page.inner_text("[role=alert]") and "as it was before" in one.page.inner_text("[role=alert]")
    one.open("")
    assert "the page exploded" in one.page.locator("section.card", has_text="Failed runs").inner_text()
    one.sound()
