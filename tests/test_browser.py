"""Every built page in a real browser, from file:// and as wide as a phone: ``python -m pytest -m browser``.

Wants selenium, Chromium with its chromedriver, and the built book; skipped where one of them is missing.
Each check is a function that returns the faults it finds, and is seen to find them on a page made for it.
"""

import re
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "book" / "_build" / "html"
MATHJAX = ROOT / "book" / "_vendor" / "mathjax" / "tex-svg.js"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html")
               if "_static" not in path.parts and path != HTML / "index.html")
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
SECONDS = 60                        # that anything may take
KNOWN = (
    # sphinx-thebe, which Jupyter Book loads always, writes the script with its constants into each page twice
    r"Identifier 'THEBE_JS_URL' has already been declared$",
    # pydata-sphinx-theme, on the first page a browser ever opens: no choice of dark or light is stored yet
    r'"Got invalid theme mode: \. Resetting to auto\."$',
)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing")
    if shutil.which("chromedriver") is None:
        pytest.skip("chromedriver is missing")
    options = webdriver.ChromeOptions()
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.set_script_timeout(SECONDS)
        driver.set_page_load_timeout(SECONDS)
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        yield driver


@pytest.fixture
def built():
    if not (HTML / "intro.html").exists():
        pytest.skip("the book is not built")


def show(browser, path, query=""):
    """Open a page, once the one before it and what it left in the console are gone."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(path.as_uri() + query)


def formulas(browser):
    """Formulas that MathJax, once it has finished, has not typeset, or has typeset as an error."""
    return browser.execute_async_script("""
        const done = arguments[0], given = [...document.querySelectorAll(".math")];
        if (!given.length) return done([]);
        if (!window.MathJax?.startup?.promise) return done([`${given.length} formulas and no MathJax`]);
        MathJax.startup.promise.then(() => {
            const text = element => element.querySelector("mjx-assistive-mml")?.textContent ?? element.textContent;
            const wrong = [...document.querySelectorAll(`mjx-merror, [data-mjx-error], [data-mml-node=merror],
                [data-mml-node=mtext][fill=red], .MathJax_Error`)];           // red: a macro that is not defined
            done([...given.filter(e => !e.querySelector("mjx-container svg")).map(e => `not typeset: ${text(e)}`),
                  ...wrong.map(e => `MathJax refuses: ${e.dataset.mjxError ?? text(e.closest("mjx-container"))}`)]);
        }, error => done([`MathJax failed: ${error}`]));""")


def console(browser):
    """Errors in the console that are not known."""
    return [f"console: {message}" for message in errors(browser) if not any(re.search(k, message) for k in KNOWN)]


def errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def pictures(browser):
    """Pictures that are not loaded, or that nothing is said of."""
    return browser.execute_async_script("""
        const done = arguments[0], all = [...document.images], name = e => e.id || e.getAttribute("src")?.slice(0, 80);
        Promise.allSettled(all.map(e => e.decode())).then(() => done([
            ...all.filter(e => !(e.complete && e.naturalWidth > 0)).map(e => `picture not loaded: ${name(e)}`),
            ...all.filter(e => !e.alt.trim()).map(e => `picture without a description: ${name(e)}`)]));""")


def folds(browser):
    """Unfold all, by a click on each title: what is not hidden before, or still is after it."""
    return browser.execute_script("""
        const faults = [], seen = e => e.checkVisibility({visibilityProperty: true});
        for (const fold of document.querySelectorAll("details, .admonition.dropdown")) {
            const title = fold.querySelector(":scope > summary, :scope > .admonition-title");
            const inside = [...fold.children].filter(e => e !== title);
            const name = fold.id || (title?.innerText || fold.innerText).trim().slice(0, 60);
            if (!title || !inside.length) { faults.push(`fold without a title or a content: ${name}`); continue; }
            if (inside.some(seen)) faults.push(`not folded at first: ${name}`);
            title.click();
            if (!inside.every(seen)) faults.push(`does not unfold: ${name}`);
        }
        return faults;""")


def players(browser):
    """Players whose slider, moved from end to end, leaves the picture as it was."""
    from selenium.webdriver.common.keys import Keys

    faults = []
    for player in browser.find_elements("css selector", ".animation"):
        image, slider = (player.find_element("css selector", tag) for tag in ("img", "input[type=range]"))
        shown = []
        for end in (Keys.END, Keys.HOME, Keys.END):
            slider.send_keys(end)
            shown.append(image.get_attribute("src"))
        if not (shown[0] == shown[2] != shown[1]):
            faults.append(f"the slider does not change the picture: {image.get_attribute('alt')}")
    return faults


def width(browser):
    """What is wider than the phone: the page, a part of its article, or what is cut off and cannot be scrolled to."""
    return browser.execute_script("""
        const root = document.documentElement, article = document.querySelector(".bd-article") ?? document.body;
        const faults = root.scrollWidth <= root.clientWidth + 1 ? []
            : [`the page scrolls sideways: ${root.scrollWidth} of ${root.clientWidth} pixels`];
        const name = e => `${e.tagName.toLowerCase()}.${e.className.baseVal ?? e.className}`
            + ` "${e.textContent.trim().slice(0, 40)}"`;
        const visit = (e, edge, how) => {
            const box = e.getBoundingClientRect(), flow = getComputedStyle(e).overflowX;
            if (!box.width || e.matches("mjx-assistive-mml, .visually-hidden")) return;
            if (box.right > edge + 1) return faults.push(`${how} by ${Math.round(box.right - edge)}: ${name(e)}`);
            if (flow === "visible" && e.scrollWidth > e.clientWidth + 1 && e.clientWidth && !e.children.length)
                return faults.push(`text sticks out by ${e.scrollWidth - e.clientWidth}: ${name(e)}`);
            if (["auto", "scroll"].includes(flow) || e.matches("svg")) return;
            if (flow !== "visible") [edge, how] = [box.right, "is cut off"];
            for (const inner of e.children) visit(inner, edge, how);
        };
        visit(article, article.getBoundingClientRect().right, "sticks out");
        return faults;""")


CHECKS = (formulas, pictures, players, folds, width, console)          # wide things hide in what is folded


@pytest.mark.parametrize("page", PAGES or ["none"])
def test_a_page_is_as_it_should_be(browser, built, page):
    show(browser, HTML / page)
    faults = [f"{page}: {fault}" for check in CHECKS for fault in check(browser)]
    assert not faults, "\n".join(faults)


def test_pages_are_found(built):
    assert len(PAGES) > 80 and {"intro.html", "implicit.html", "genindex.html"} <= set(PAGES)


def test_players_and_folded_solutions_are_where_the_checks_look(built):
    html = "".join((HTML / page).read_text(encoding="utf-8") for page in PAGES if "/" not in page)
    text = "".join(page.read_text(encoding="utf-8") for page in sorted((HTML / "_sources").glob("*.md")))
    assert html.count('<div class="animation">') == text.count("\nplots.player(") > 0
    assert html.count('class="solution dropdown admonition"') == text.count("{solution-start}") > 0


def test_the_known_errors_are_met(browser, built):
    """One that is met no more is to be struck from the list."""
    show(browser, HTML / "intro.html")
    browser.execute_script("localStorage.clear()")
    show(browser, HTML / "intro.html")
    found = errors(browser)
    assert len(found) == len(KNOWN) and all(any(re.search(known, message) for message in found) for known in KNOWN)


def test_the_index_leads_to_the_first_chapter(browser, built):
    from selenium.webdriver.support.wait import WebDriverWait

    show(browser, HTML / "index.html")
    assert WebDriverWait(browser, SECONDS).until(lambda b: b.current_url == (HTML / "intro.html").as_uri())


def test_a_search_finds_the_chapter(browser, built):
    from selenium.webdriver.support.wait import WebDriverWait

    show(browser, HTML / "search.html", "?q=implicit")
    assert WebDriverWait(browser, SECONDS).until(
        lambda b: b.find_elements("css selector", '#search-results a[href^="implicit.html"]'))


DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
OTHER = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="
TEX = f'<script defer src="{MATHJAX.as_uri()}"></script>'
PLAYER = (f'<div class="animation"><img alt="moving" src="{DOT}">'
          '<input type="range" min="0" max="2" value="0" {}></div>')
FOLD = ('<div class="admonition dropdown"><p class="admonition-title" onclick="{}">T</p>'
        '<p style="display: none">x</p></div>')
GOOD = "".join((
    TEX, r'<span class="math">\(x^2\)</span>', f'<img src="{DOT}" alt="a dot">',
    PLAYER.format(f"oninput=\"previousElementSibling.src = +value ? '{OTHER}' : '{DOT}'\""),
    "<details><summary>T</summary><p>x</p></details>", FOLD.format("nextElementSibling.style.display = 'block'"),
    '<div style="overflow: auto"><div style="width: 800px">scrolls</div></div>'))


def write(page, body):
    page.write_text('<!DOCTYPE html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
                    f'<article class="bd-article">{body}</article>', encoding="utf-8")
    return page


def test_no_check_finds_fault_with_a_good_page(browser, tmp_path):
    show(browser, write(tmp_path / "page.html", GOOD))
    assert [found for check in CHECKS for found in check(browser)] == []


@pytest.mark.parametrize(("check", "body", "fault"), [
    (formulas, TEX + r'<span class="math">\(\frac{1}\)</span>', r"MathJax refuses: Missing argument for \\frac"),
    (formulas, TEX + r'<span class="math">\(\gone\)</span>', "MathJax refuses: "),
    (formulas, TEX + '<span class="math">x</span>', "not typeset: x"),
    (formulas, r'<span class="math">\(x^2\)</span>', "1 formulas and no MathJax"),
    (console, "<script>gone()</script>", "console: .*gone is not defined"),
    (console, '<script src="gone.js"></script>', "console: .*ERR_FILE_NOT_FOUND"),
    (pictures, '<img src="gone.png" alt="gone">', "picture not loaded: gone.png"),
    (pictures, '<img id="empty" alt="no source">', "picture not loaded: empty"),
    (pictures, f'<img id="mute" src="{DOT}">', "picture without a description: mute"),
    (players, PLAYER.format(""), "the slider does not change the picture: moving"),
    (folds, '<details><summary onclick="event.preventDefault()">T</summary><p>x</p></details>', "does not unfold: T"),
    (folds, FOLD.format(""), "does not unfold: T"),
    (folds, '<details open><summary>T</summary><p>x</p></details>', "not folded at first: T"),
    (folds, '<details><summary>T</summary></details>', "fold without a title or a content: T"),
    (width, '<div style="width: 500px">wide</div>', 'sticks out by 1.*: div. "wide"'),
    (width, '<div style="margin-left: 350px">' + 20 * "wide" + "</div>", "text sticks out by .*: div"),
    (width, '</article><div style="width: 500px">wide</div>', "the page scrolls sideways: 5.* of 390 pixels"),
    (width, '<div style="overflow: hidden"><p style="width: 500px">wide</p></div>', 'is cut off by 1.*: p. "wide"'),
])
def test_each_check_sees_its_fault(browser, tmp_path, check, body, fault):
    show(browser, write(tmp_path / "page.html", body))
    found = check(browser)
    assert any(re.match(fault, one) for one in found), found
