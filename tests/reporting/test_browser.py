"""The report in a real browser: it sorts, filters, fits a phone, and neither loads nor runs anything foreign."""

import base64
import json
import shutil
from dataclasses import replace

import pytest
from conftest import ROOT
from hostile_data import BASE, NAMES, TASKS, hostile_report
from report_data import HOSTILE, made_up
from synthetic import write_study
from test_report import SVG, verdict

from causal2vec.reporting.analysis.study import load_study
from causal2vec.reporting.read.visible import visible
from causal2vec.reporting.show.claims import claims_table
from causal2vec.reporting.show.report.page import write_report
from causal2vec.reporting.show.tables.build import build_tables
from causal2vec.reporting.show.tables.grid import Cell
from causal2vec.reporting.show.tables.layout import load_layout

webdriver = pytest.importorskip("selenium.webdriver", reason="the browser test needs selenium; pip install it")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="the browser test needs chromium and chromedriver; on Debian: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # The driver is named, so that selenium looks for none and downloads none.
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of 12 tasks with every table, one figure and, in all places that take a name, hostile words."""
    folder = tmp_path_factory.mktemp("study")
    methods = ("causal2vec", "last_token", "echo", "bidirectional")
    gap = ("last_token", "SmolLM2-135M-Instruct", "BIOSSES")
    write_study(folder, methods=methods, bases=("SmolLM2-135M-Instruct",), tasks=12, items=20, missing=[gap],
                variants=("eos",), scale_note=f"small-scale: {HOSTILE}")  # fmt: skip
    study = load_study(folder)
    study = replace(study, title=HOSTILE, evidence=made_up(study.summary, study.bases, 0.012))
    verdicts = [verdict("supported", "a"), verdict("not run", "b", statement=HOSTILE)]
    tables = [*build_tables(study, load_layout(ROOT / "config/tables.yaml")), claims_table(verdicts, study)]
    main = next(table for table in tables if table.name == "main")
    hostile = [Cell(HOSTILE), Cell(HOSTILE), *[Cell(1.0)] * (len(main.columns) - 2)]
    groups = [main.groups[0], *main.groups[1:], replace(main.groups[0], title=HOSTILE, rows=[hostile])]
    tables[tables.index(main)] = replace(main, groups=groups)
    (folder / "forest.svg").write_text(SVG)
    path = folder / "report.html"
    write_report(study, tables, {"forest": folder / "forest.svg"}, {"forest": HOSTILE}, verdicts, path)
    return path


@pytest.fixture
def page(browser, report):
    """The open report, wide and light; afterwards its console must be empty and no request made."""
    show(browser, report)
    yield browser
    assert browser.get_log("browser") == []
    assert requests(browser) <= {report.as_uri(), "data:,"}
    assert browser.execute_script("return window.hurt") is None


def show(browser, path, width=1280, scheme="light", media=""):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())


def requests(browser):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}


def screenshot(browser, path):
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))


def column(page, title):
    """The place of a column of the main table, and its heading."""
    heads = page.find_elements(By.CSS_SELECTOR, "#table-main th[data-column]")
    head = next(h for h in heads if h.text.replace("\n", "").startswith(title))
    return int(head.get_attribute("data-column")), head


def values(page, index):
    """What the first block of the main table shows in a column, from top to bottom."""
    rows = page.find_elements(By.CSS_SELECTOR, "#table-main tbody:first-of-type tr:not(.group)")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[index].text for row in rows if row.is_displayed()]


def box(page, kind, value):
    return page.find_element(By.CSS_SELECTOR, f'.controls input.{kind}[value="{value}"]')


def status(page):
    return page.find_element(By.CSS_SELECTOR, ".controls .status").text


def test_headings_sort_within_blocks_and_gaps_stay_last(page):
    methods = ["causal2vec", "last_token", "echo", "bidirectional", "encoder_only"]
    index, head = column(page, "STS")
    assert values(page, 0) == methods
    orders = []
    for direction in ("descending", "ascending", None):
        head.find_element(By.TAG_NAME, "button").click()
        assert head.get_attribute("aria-sort") == direction
        orders.append(values(page, 0))
        shown = values(page, index)
        if direction:
            numbers = [float(text.split("°")[0].split()[0]) for text in shown[:-1]]
            assert shown[-1] == "–" and numbers == sorted(numbers, reverse=direction == "descending")
            assert status(page) == f"Sorted by STS (1), {direction}."
    assert orders[0][:-1] == orders[1][:-1][::-1] and orders[0][-1] == orders[1][-1] == "last_token"
    assert orders[2] == methods
    titles = page.find_elements(By.CSS_SELECTOR, "#table-main tr.group")
    assert [title.text for title in titles] == ["Trained on the same pairs", HOSTILE]


def test_the_keyboard_sorts_too(page):
    _, head = column(page, "Method")
    head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert values(page, 0) == ["bidirectional", "causal2vec", "echo", "encoder_only", "last_token"]
    _, other = column(page, "Average")
    other.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert other.get_attribute("aria-sort") == "descending" and head.get_attribute("aria-sort") is None


def test_rows_are_filtered_by_box_and_by_words(page):
    box(page, "row", "echo").click()
    assert values(page, 0) == ["causal2vec", "last_token", "bidirectional", "encoder_only"]
    assert status(page) == "5 of 6 rows, 8 of 8 columns shown."
    search = page.find_element(By.CSS_SELECTOR, ".controls input[type=search]")
    search.send_keys("SMOLLM TOKEN")
    assert values(page, 0) == ["last_token"]
    hidden = page.find_elements(By.CSS_SELECTOR, "#table-main tbody")[1]
    assert not hidden.is_displayed()  # a block without rows goes with its heading
    page.find_element(By.CSS_SELECTOR, ".controls .reset").click()
    assert len(values(page, 0)) == 5 and box(page, "row", "echo").is_selected() and hidden.is_displayed()


def test_columns_are_hidden_and_shown(page):
    index, head = column(page, "STS")
    box(page, "column", str(index)).click()
    cells = page.find_elements(By.CSS_SELECTOR, f"#table-main tbody tr:not(.group) > :nth-child({index + 1})")
    assert not head.is_displayed() and len(cells) == 6 and not any(cell.is_displayed() for cell in cells)
    assert column(page, "Average")[1].is_displayed() and status(page) == "6 of 6 rows, 7 of 8 columns shown."
    box(page, "column", str(index)).click()
    assert head.is_displayed() and all(cell.is_displayed() for cell in cells)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(page, report, tmp_path, width, scheme):
    show(page, report, width, scheme)
    page.execute_script("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script("return document.querySelector('#table-tasks').offsetWidth") > 0
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 29)")
    drawing = page.find_element(By.CSS_SELECTOR, ".drawing")
    assert drawing.value_of_css_property("background-color") in ("rgb(255, 255, 255)", "rgba(255, 255, 255, 1)")
    screenshot(page, tmp_path / f"{width}-{scheme}.png")


def test_it_prints_without_controls(page, report, tmp_path):
    show(page, report, media="print")
    assert not page.find_element(By.CSS_SELECTOR, ".controls").is_displayed()
    assert not page.find_element(By.CSS_SELECTOR, "nav").is_displayed()
    assert page.find_element(By.CSS_SELECTOR, "#table-main").is_displayed()
    data = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    (tmp_path / "report.pdf").write_bytes(data)
    assert data.startswith(b"%PDF") and 3 <= data.count(b"/Type /Page\n") <= 30


def test_without_scripts_it_is_a_plain_page(page, report):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(page, report)
        assert not page.find_element(By.CSS_SELECTOR, ".controls").is_displayed()
        assert page.find_elements(By.CSS_SELECTOR, "#table-main button") == []
        assert len(values(page, 0)) == 5
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_policy_stops_what_escaping_would_have_let_through(browser, report, tmp_path):
    """Also shows that the checks above can fail: here the console is not empty."""
    foreign = "<img src=x onerror='window.hurt=1'><script>window.hurt=1</script><p style='color:red'>"
    path = tmp_path / "tampered.html"
    path.write_text(report.read_text().replace("</main>", f"{foreign}</main>"))
    show(browser, path)
    assert browser.execute_script("return window.hurt") is None
    assert sum("Content Security Policy" in entry["message"] for entry in browser.get_log("browser")) >= 3


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which every name is one that an attacker would choose."""
    return hostile_report(tmp_path_factory.mktemp("hostile"))


def plain(text):
    """A text as a reader sees it: white space folded."""
    return " ".join(text.split())


def shown(browser, selector):
    """The text of every such element, open or folded."""
    script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
    return [plain(text) for text in browser.execute_script(script, selector)]


def test_hostile_names_run_nothing_and_load_nothing_and_are_read_as_they_are(browser, hostile, tmp_path):
    show(browser, hostile)
    assert browser.execute_script("return window.hurt") is None
    assert requests(browser) <= {hostile.as_uri(), "data:,"}
    assert browser.get_log("browser") == []
    names = [plain(visible(name)) for name in NAMES]
    rows = shown(browser, "#table-main tbody tr:not(.group) > th")
    assert set(names) == set(rows)
    assert {plain(visible(task)) for task in TASKS} <= set(shown(browser, "#table-tasks tbody th"))
    heads = " ".join(shown(browser, "#table-main thead th"))
    assert "<script>window.hurt=2</script> (1)" in heads and "49" not in heads
    assert browser.title == browser.find_element(By.TAG_NAME, "h1").text == f"</title>{NAMES[0]}"
    whole = browser.execute_script("return document.body.textContent")
    assert all(plain(visible(name)) in plain(whole) for name in [*NAMES, BASE])
    assert not set("\u202e\u2066\u200f\x00\x07\x1b\u2028") & set(whole)
    foreign = "iframe, object, embed, audio, video, form, base, img, [onerror], [onload], [onmouseover], a[href^=java]"
    assert browser.find_elements(By.CSS_SELECTOR, foreign) == []
    assert len(browser.find_elements(By.CSS_SELECTOR, "script")) == 1
    links = browser.execute_script("return [...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
    assert all(link.startswith(("#", "https://")) and "evil" not in link for link in links)
    screenshot(browser, tmp_path / "hostile.png")


def test_hostile_rows_are_sorted_and_filtered_like_any(browser, hostile):
    show(browser, hostile)
    column(browser, "Average")[1].find_element(By.TAG_NAME, "button").click()
    boxes = browser.find_elements(By.CSS_SELECTOR, ".controls input.row")
    assert len(boxes) == len(NAMES)
    kept = boxes.pop(8)
    browser.execute_script("arguments[0].forEach((box) => { box.click(); })", boxes)
    assert [plain(value) for value in values(browser, 0)] == [plain(kept.get_attribute("value"))]
    browser.execute_script("arguments[0].click()", kept)
    assert status(browser).startswith("0 of ") and browser.execute_script("return window.hurt") is None
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_names_do_not_widen_the_page(browser, hostile, width):
    show(browser, hostile, width)
    browser.execute_script("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
