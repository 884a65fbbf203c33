#!/usr/bin/python3
"""The flame graph page in Chromium: reading, hover, zoom, keys, search, table, diff, hostile names, 100 000 nodes.

Debian's chromium is driven by Debian's selenium and chromedriver. The first class opens pages that lib_flame
wrote; the second one opens what the built `profleet` writes (PROFLEET_BIN, which ctest sets).
Nothing here waits for time: after each action the page is asked to draw two frames, and then read.
"""

import base64
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lib_flame  # noqa: E402
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

CHROMIUM_FLAGS = ("--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
                  "--disable-background-networking --disable-component-update --disable-sync "
                  "--disable-dev-shm-usage --window-size=1280,900").split()
WINDOW_ROWS_MAX = 60  # rows of 20 px that the canvas of such a window can hold, generously

SECOND = 10**9
MAIN = ("main", "cart", 0)
SERVE = ("serve", "cart", 0)
JSON = ("json_parse", "libjson.so", 0)
RENDER = ("render", "cart", 0)
WALK = ("walk", "cart", 0)
SYSCALL = ("do_syscall_64", "[kernel]", 1)

# Ten seconds, so that a value reads as its share.
SMALL = {
    (MAIN, SERVE, JSON): 3 * SECOND,
    (MAIN, SERVE, JSON, ("memcpy", "libc.so.6", 0)): SECOND,
    (MAIN, SERVE, RENDER): 2 * SECOND,
    (MAIN, SERVE, RENDER, SYSCALL): 2 * SECOND,
    (MAIN, SERVE, WALK, WALK, WALK): SECOND // 2,
    (MAIN, ("idle", "cart", 0)): 3 * SECOND // 2,
}

BEFORE = {(MAIN, JSON): 4 * SECOND, (MAIN, RENDER): 4 * SECOND, (MAIN, ("old_cache", "cart", 0)): 2 * SECOND}
AFTER = {(MAIN, JSON): 12 * SECOND, (MAIN, RENDER): 4 * SECOND, (MAIN, ("audit", "cart", 0)): 4 * SECOND}

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<!--profleet:meta--> & \" ' operator<",
    "\x1b]0;owned\x07\x1b[31mred",
    "\u202egnp.exe",
    "javascript:window.hacked=1//",
    "__proto__",
]

# Where the text of the page stands: each must reach 4.5:1 in both schemes.
TEXTS = ("h1", "h2", "#verdict", "#recorded", "#lines li", "#sides td", "#top th", "#top td", "#view-graph", "#view-table",
         "#turn", "#crumbs span", "#detail", "#legend li", "#matches")

CONTRAST_JS = """
function parse(text) { return text.match(/[0-9.]+/g).map(Number); }
function light(rgb) {
	const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const element = document.querySelector(arguments[0]);
let ground = element;
while (parse(getComputedStyle(ground).backgroundColor)[3] === 0)
	ground = ground.parentElement;
const [low, high] = [light(parse(getComputedStyle(element).color)), light(parse(getComputedStyle(ground).backgroundColor))].sort((a, b) => a - b);
return (high + 0.05) / (low + 0.05);
"""

SETTLE_JS = """
const done = arguments[arguments.length - 1];
function look() {
	const failure = document.getElementById('failure');
	if (document.documentElement.dataset.ready === 'yes' || !failure.hidden)
		requestAnimationFrame(() => requestAnimationFrame(() => done(true)));
	else
		requestAnimationFrame(look);
}
look();
"""


def large(count):
    """A tree of `count` nodes over 1 000 functions: a few wide paths and very many narrow ones, nine deep."""
    stacks = {}
    state = 1
    nodes = set()
    while len(nodes) < count - 1:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        pick = state >> 33
        path = tuple((f"function_{(pick >> shift) % (8 << shift // 2) % 1000}", f"lib{(pick >> shift) % 8}.so", 0)
                     for shift in (0, 2, 4, 7, 9, 12, 14, 17))
        keep = path[: 1 + pick % 8]
        missing = [keep[:i] for i in range(1, len(keep) + 1) if keep[:i] not in nodes]
        room = count - 1 - len(nodes)
        if len(missing) > room:
            keep = missing[room - 1]
            missing = missing[:room]
        nodes.update(missing)
        stacks[keep] = stacks.get(keep, 0) + 1000 + pick % 9973 ** 2
    return stacks


class Browser:
    """One Chromium with a profile folder of its own, and the page's parts by short names."""

    def __init__(self, folder):
        self.folder = folder
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in CHROMIUM_FLAGS:
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={os.path.join(folder, 'browser')}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.driver.set_script_timeout(60)

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def open(self, path, fragment=""):
        self.driver.get("about:blank")
        self.driver.get_log("browser")  # what an earlier page was told is not this one's
        self.driver.get(f"file://{path}{fragment}")
        self.settle()

    def settle(self):
        self.driver.execute_async_script(SETTLE_JS)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def part(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.js("return document.getElementById(arguments[0]).textContent", name).replace("\u00a0", " ")

    def press(self, *keys):
        self.part("stage").send_keys(*keys)
        self.settle()

    def search(self, text, *keys):
        field = self.part("search")
        field.send_keys(Keys.ESCAPE)
        field.send_keys(text, *keys)
        self.settle()

    def state(self, name):
        return self.js("return document.getElementById('canvas').dataset[arguments[0]]", name)

    def wait_for_address(self, fragment):
        """The address follows when keys pause; a test that never sees it ends by the driver's time limit."""
        self.driver.execute_async_script("""
            const [wanted, done] = arguments;
            (function look() { location.hash === wanted ? done() : requestAnimationFrame(look); })();""", fragment)

    def selected(self):
        return self.text("detail").split(":")[0].split(" — ")[0]

    def ring(self):
        """x, y, width, height of the selected box on the canvas."""
        return [float(value) for value in self.state("ring").split()]

    def point(self, x, y, click=False):
        """Moves the mouse to a place of the canvas."""
        canvas = self.part("canvas")
        size = canvas.size
        actions = ActionChains(self.driver)
        actions.move_to_element_with_offset(canvas, int(x - size["width"] / 2), int(y - size["height"] / 2))
        if click:
            actions.click()
        actions.perform()
        self.settle()

    def point_at_selected(self, click=False):
        x, y, width, height = self.ring()
        self.point(x + width / 2, y + height / 2, click)

    def crumbs(self):
        return [item.text for item in self.driver.find_elements(By.CSS_SELECTOR, "#crumbs li")]

    def rows(self, table):
        return self.js("""return Array.from(document.querySelectorAll(arguments[0] + ' tbody tr'),
            (row) => Array.from(row.cells, (cell) => cell.textContent.replace(/\\u00a0/g, ' ')))""", f"#{table}")

    def complaints(self):
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def scheme(self, name):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                    {"features": [{"name": "prefers-color-scheme", "value": name}]})

    def media(self, name):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": name, "features": []})


class Case(unittest.TestCase):
    """Pages of one class share one browser."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.browser = Browser(cls.temporary.name)
        cls.addClassCleanup(cls.browser.driver.quit)

    def open_sides(self, *sides, fragment="", **meta):
        path = self.browser.write("page.html", lib_flame.page(lib_flame.meta_of(sides, **meta), lib_flame.encode(sides)))
        self.browser.open(path, fragment)
        return path


class Page(Case):
    def test_what_was_asked_stands_first_then_completeness_then_the_top_ten_then_the_graph(self):
        self.open_sides(SMALL, title="cpu{service=\"cart\"}", recorded="Recorded fleet",
                        lines=["Lost: 3 samples (ring full)", "Unfinished stacks: 0.40 %"])
        text = self.browser.js("return document.body.innerText").replace("\u00a0", " ")
        places = [text.index(words) for words in ("Recorded fleet", "cpu{service=\"cart\"}", "10.0 s", "Lost: 3 samples",
                                                  "Unfinished stacks", "Top ten", "json_parse", "Graph")]
        self.assertEqual(places, sorted(places))
        self.assertEqual(self.browser.driver.title, "cpu{service=\"cart\"}")
        self.assertEqual(self.browser.rows("top")[0], ["json_parse", "3.00 s", "30.00 %", "40.00 %"])
        self.assertEqual(self.browser.complaints(), [])

    def test_hover_shows_name_module_value_share_and_self(self):
        self.open_sides(SMALL)
        self.browser.search("json_parse", Keys.ENTER)
        self.browser.point_at_selected()
        tip = self.browser.text("tip")
        for words in ("json_parse", "libjson.so", "total4.00 s", "of all40.00 %", "self3.00 s", "self of all30.00 %"):
            self.assertIn(words, tip)
        self.browser.point(2, self.browser.part("canvas").size["height"] - 3)
        self.assertFalse(self.browser.part("tip").is_displayed())

    def test_click_zooms_and_the_path_and_escape_lead_back(self):
        self.open_sides(SMALL)
        self.browser.search("json_parse", Keys.ENTER)
        width_before = self.browser.ring()[2]
        self.browser.point_at_selected(click=True)
        self.assertEqual([c.strip() for c in self.browser.crumbs()], ["all", "main", "serve", "json_parse"])
        self.assertGreater(self.browser.ring()[2], 2 * width_before)
        self.browser.press(Keys.ESCAPE)
        self.assertEqual(self.browser.crumbs()[-1], "serve")
        self.browser.driver.find_elements(By.CSS_SELECTOR, "#crumbs button")[0].click()
        self.browser.settle()
        self.assertEqual(self.browser.crumbs(), ["all"])

    def test_arrows_go_to_child_parent_and_sibling_and_enter_zooms(self):
        self.open_sides(SMALL)
        visited = []
        for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT,
                    Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ENTER):
            self.browser.press(key)
            visited.append(self.browser.selected())
        self.assertEqual(visited, ["main", "serve", "json_parse", "render", "walk", "walk", "render", "serve", "serve"])
        self.assertEqual(self.browser.crumbs(), ["all", "main", "serve"])
        self.browser.search("walk")
        self.browser.press(Keys.HOME)
        self.assertEqual(self.browser.text("matches"), "matches 5.00 %")
        self.browser.press(Keys.ESCAPE)
        self.assertEqual(self.browser.text("matches"), "")
        self.assertEqual((self.browser.crumbs(), self.browser.selected()), (["all"], "all"))

    def test_flipped_the_root_is_below_and_up_leads_to_the_child(self):
        self.open_sides(SMALL)
        top = self.browser.ring()[1]
        self.browser.press("i")
        self.assertGreater(self.browser.ring()[1], top)
        self.browser.point_at_selected()
        self.assertIn("all", self.browser.text("tip"))
        self.browser.press(Keys.ARROW_UP)
        self.assertEqual(self.browser.selected(), "main")

    def test_slash_searches_and_n_walks_through_the_matches(self):
        self.open_sides(SMALL)
        self.browser.press("/")
        self.assertEqual(self.browser.js("return document.activeElement.id"), "search")
        self.browser.driver.switch_to.active_element.send_keys("E", Keys.ENTER)
        self.browser.settle()
        self.assertEqual(self.browser.text("matches"), "1 of 2 · matches 100.00 %")
        self.browser.search("/^(json_parse|render|idle)$/", Keys.ENTER)
        self.assertEqual(self.browser.text("matches"), "1 of 3 · matches 95.00 %")
        visited = [self.browser.selected()]
        for key in "nnnN":
            self.browser.press(key)
            visited.append(self.browser.selected())
        self.assertEqual(visited, ["json_parse", "render", "idle", "json_parse", "idle"])

    def test_search_counts_a_match_below_a_match_once_and_finds_modules(self):
        self.open_sides(SMALL)
        for query, told in (("walk", "matches 5.00 %"), ("[kernel]", "matches 20.00 %"), ("JSON", "matches 40.00 %"),
                            ("nowhere", "no match"), ("/(/", "not a valid expression"), ("/JSON/", "no match"),
                            ("/JSON/i", "matches 40.00 %")):
            with self.subTest(query):
                self.browser.search(query)
                self.assertEqual(self.browser.text("matches"), told)

    def test_table_counts_a_function_twice_on_a_stack_once_and_sorts(self):
        self.open_sides(SMALL)
        self.browser.press("t")
        rows = {row[4]: row for row in self.browser.rows("functions")}
        self.assertEqual(rows["walk"], ["500 ms", "5.00 %", "500 ms", "5.00 %", "walk", "cart"])
        self.assertEqual(rows["serve"], ["0 s", "0.00 %", "8.50 s", "85.00 %", "serve", "cart"])
        self.assertEqual([row[4] for row in self.browser.rows("functions")][:2], ["json_parse", "render"])
        self.browser.part("sort-cum").click()
        self.assertEqual([row[4] for row in self.browser.rows("functions")][:2], ["main", "serve"])
        self.browser.part("sort-function").click()
        names = [row[4] for row in self.browser.rows("functions")]
        self.assertEqual(names, sorted(names))
        self.browser.search("kernel")
        self.assertEqual([row[4] for row in self.browser.rows("functions")], ["do_syscall_64"])
        self.assertIn("1 of 1 functions shown (those that match the search)", self.browser.text("more"))

    def test_a_name_in_the_table_leads_to_its_places_in_the_graph(self):
        self.open_sides({**SMALL, (MAIN, ("operator()(int*)", "cart", 0)): SECOND})
        self.browser.press("t")
        for button in self.browser.driver.find_elements(By.CSS_SELECTOR, "#functions td button"):
            if button.text == "operator()(int*)":
                button.click()
                break
        self.browser.settle()
        self.assertEqual(self.browser.selected(), "operator()(int*)")

    def test_long_tables_say_how_many_rows_are_not_shown(self):
        self.open_sides({((f"f{i}", "", 2),): i + 1 for i in range(300)}, unit="samples")
        self.browser.press("t")
        self.assertIn("200 of 300 functions shown", self.browser.text("more"))
        self.browser.part("show-all").click()
        self.assertEqual(len(self.browser.rows("functions")), 300)

    def test_address_brings_zoom_selection_search_and_view_back(self):
        path = self.open_sides(SMALL)
        self.browser.search("mem", Keys.ENTER)
        self.browser.press(Keys.ARROW_UP, Keys.ENTER)
        self.browser.press("i")
        fragment = "#z=main/serve/json_parse&q=mem&o=up"
        self.browser.wait_for_address(fragment)
        self.browser.open(path, fragment)
        self.assertEqual((self.browser.crumbs()[-1], self.browser.selected()), ("json_parse", "json_parse"))
        self.assertEqual(self.browser.text("matches"), "matches 10.00 %")
        self.browser.open(path, "#v=table&t=cum,asc")
        self.assertEqual(self.browser.rows("functions")[-1][4], "main")
        self.browser.open(path, "#z=main/nothing%ZZ/x&s=%&w=__proto__&q=%E0%A4%A")
        self.assertEqual(self.browser.crumbs(), ["all", "main"])
        self.assertEqual(self.browser.complaints(), [])

    def test_back_undoes_a_zoom(self):
        self.open_sides(SMALL)
        self.browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
        self.assertEqual(self.browser.crumbs(), ["all", "main", "serve"])
        self.browser.driver.back()
        self.browser.settle()
        self.assertEqual(self.browser.crumbs(), ["all"])

    def test_diff_shows_both_sides_the_change_and_what_is_new_and_gone(self):
        self.open_sides(BEFORE, AFTER, verdict="no significance is tested")
        self.assertEqual(self.browser.text("verdict"), "no significance is tested")
        for name, change in (("json_parse", "+20.00 pp (+50.0 %)"), ("render", "−20.00 pp (−50.0 %)"),
                             ("old_cache", "−20.00 pp, gone"), ("audit", "+20.00 pp, new")):
            with self.subTest(name):
                self.browser.search(name, Keys.ENTER)
                self.assertIn(f"change {change}", self.browser.text("detail"))
                self.browser.point_at_selected()
                self.assertIn(f"change {change}", self.browser.text("tip"))
        self.browser.search("json", Keys.ENTER)
        self.assertIn("A total 4.00 s (40.00 %), self 4.00 s (40.00 %); B total 12.0 s (60.00 %)", self.browser.text("detail"))
        self.assertIn("matches A 40.00 %, B 60.00 %", self.browser.text("matches"))

    def test_diff_widths_follow_the_side_that_is_asked_for(self):
        self.open_sides(BEFORE, AFTER)
        whole = self.browser.ring()[2]
        self.browser.search("json", Keys.ENTER)
        # both: 60 of 60 + 40 + 20 + 20; change: 20 of 20 + 20 + 20 + 20
        for mode, part in (("both", 60 / 140), ("A", 0.4), ("B", 0.6), ("change", 0.25)):
            with self.subTest(mode):
                Select(self.browser.part("width")).select_by_value(mode)
                self.browser.settle()
                self.assertAlmostEqual(self.browser.ring()[2] / whole, part, places=2)

    def test_diff_table_sorts_by_size_of_change_and_filters_new_and_gone(self):
        self.open_sides(BEFORE, AFTER)
        self.browser.press("t")
        rows = {row[8]: row[:4] for row in self.browser.rows("functions")}
        self.assertEqual(rows["json_parse"], ["40.00 %", "60.00 %", "+20.00 pp", "+50.0 %"])
        self.assertEqual(rows["audit"], ["0.00 %", "20.00 %", "+20.00 pp", "new"])
        for only, name in (("new", "audit"), ("gone", "old_cache")):
            Select(self.browser.part("only")).select_by_value(only)
            self.assertEqual([row[8] for row in self.browser.rows("functions")], [name])

    def test_screen_readers_get_the_path_its_siblings_and_the_selected_frame(self):
        self.open_sides(SMALL)
        self.browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
        stage = self.browser.part("stage")
        self.assertEqual(stage.get_attribute("role"), "tree")
        items = self.browser.js("""return Array.from(document.querySelectorAll('#mirror [role=treeitem]'),
            (item) => [item.textContent.split(',')[0], item.getAttribute('aria-level'), item.getAttribute('aria-selected')])""")
        self.assertEqual(items, [["all", "1", "false"], ["main", "2", "false"], ["serve", "3", "false"],
                                 ["json_parse", "4", "true"], ["memcpy", "5", "false"], ["render", "4", "false"],
                                 ["walk", "4", "false"]])
        active = self.browser.part(stage.get_attribute("aria-activedescendant"))
        self.assertEqual(active.get_attribute("aria-selected"), "true")
        self.assertEqual(self.browser.part("detail").get_attribute("aria-live"), "polite")

    def test_hostile_names_are_text_and_nothing_else(self):
        sides = {((name, name, 2), ("leaf", name, 0)): 10 for name in HOSTILE}
        for encoding in ("gzip", "plain"):
            meta = lib_flame.meta_of([sides], title=HOSTILE[0], unit="samples", lines=list(HOSTILE),
                                     verdict=HOSTILE[1], recorded=HOSTILE[0])
            self.browser.open(self.browser.write("hostile.html", lib_flame.page(meta, lib_flame.encode([sides]), encoding)))
            self.assertEqual(self.browser.driver.title, HOSTILE[0])
            self.browser.search("<img", Keys.ENTER)
            self.assertEqual(self.browser.selected(), HOSTILE[1])
            self.browser.point_at_selected(click=True)
            self.browser.press("t")
            shown = {row[4] for row in self.browser.rows("functions")}
            self.assertIn(HOSTILE[1], shown)
            self.browser.search("")
            text = self.browser.js("return document.body.textContent.split('{\"schema')[0]")
            self.assertIn("·]0;owned··[31mred", text)
            self.assertNotRegex(text, "[\x00-\x08\x0b-\x1f\u202a-\u202e]")
            self.assertEqual(self.browser.js("return [typeof window.hacked, document.images.length, document.scripts.length]"),
                             ["undefined", 0, 3])
            self.assertEqual(self.browser.complaints(), [])

    def test_policy_stops_scripts_and_requests_that_are_not_the_pages(self):
        self.open_sides(SMALL)
        stopped = self.browser.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            const seen = [];
            document.addEventListener('securitypolicyviolation', (event) => {
                seen.push(event.effectiveDirective);
                if (seen.length === 3)
                    done(seen.sort().concat(typeof window.injected));
            });
            const script = document.createElement('script');
            script.textContent = 'window.injected = 1';
            document.body.append(script);
            fetch('http://127.0.0.1:9/').catch(() => {});
            document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/x.png' }));""")
        self.assertEqual(stopped, ["connect-src", "img-src", "script-src-elem", "undefined"])

    def test_page_asks_for_no_other_resource(self):
        self.open_sides(SMALL)
        self.assertEqual(self.browser.js("return performance.getEntriesByType('resource').map((e) => e.name)"), [])

    def test_broken_profiles_are_refused_with_a_reason(self):
        good = lib_flame.encode([SMALL])
        v = lib_flame.varint
        head = b"PFG1" + v(1) + v(0) + v(1) + v(0) * 3 + v(1)
        cases = (
            (b"PFG2" + good[4:], "not of a format"),
            (b"", "not of a format"),
            (good[:-1], "more than it can hold|ends too early"),
            (good + b"\0", "bytes that belong to nothing"),
            (b"PFG1" + v(2**62), "more than it can hold"),
            (b"PFG1" + b"\xff" * 11, "too long"),
            (b"PFG1" + v(1) + v(0) + v(1) + v(5) + v(0) + v(0), "names string 5 of 1"),
            (head[:-1] + v(3) + v(1) + v(0) * 5, "3 sides"),
            (head + v(0), "no root"),
            (head + v(2) + v(0) + lib_flame.zigzag(2) + v(0) * 4, "jumps"),
            (head + v(2) + v(0) + lib_flame.zigzag(0) + v(0) * 4, "jumps"),
            (head + v(1) + v(0) + v(9) + v(0), "names frame 9 of 1"),
        )
        for data, reason in cases:
            with self.subTest(reason):
                page = lib_flame.page(lib_flame.meta_of([SMALL]), data)
                self.browser.open(self.browser.write("broken.html", page))
                self.assertRegex(self.browser.text("failure"), reason)
                self.assertFalse(self.browser.part("app").is_displayed())
        page = lib_flame.page(lib_flame.meta_of([SMALL]), good).replace(b"data-encoding=\"plain\"", b"data-encoding=\"gzip\"")
        cut = page.replace(base64.b64encode(lib_flame.gzip.compress(good, 6, mtime=0)), base64.b64encode(b"\x1f\x8bno gzip"))
        self.assertNotEqual(cut, page)
        self.browser.open(self.browser.write("broken.html", cut))
        self.assertIn("does not unpack", self.browser.text("failure"))

    def test_an_empty_profile_is_a_page_with_nothing_but_its_root(self):
        self.open_sides({})
        self.assertEqual((self.browser.text("failure"), self.browser.selected()), ("", "all"))
        self.browser.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ENTER, Keys.ESCAPE, "n")
        self.browser.search("all", Keys.ENTER)
        self.assertEqual(self.browser.text("matches"), "1 of 1 · matches -")
        self.browser.press("t")
        self.assertIn("0 of 0 functions", self.browser.text("more"))
        self.assertEqual(self.browser.complaints(), [])

    def test_totals_that_do_not_agree_are_told(self):
        meta = lib_flame.meta_of([SMALL])
        meta["sides"][0]["total"] = "11000000000"
        self.browser.open(self.browser.write("page.html", lib_flame.page(meta, lib_flame.encode([SMALL]))))
        self.assertIn("add up to 10.0 s, but 11.0 s were announced", self.browser.text("lines"))

    def test_a_browser_without_decompression_says_so_and_still_shows_the_summary(self):
        script = self.browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument",
                                                     {"source": "delete window.DecompressionStream"})
        try:
            self.open_sides(SMALL, lines=["Lost: 3 samples"])
            self.assertIn("cannot unpack the profile", self.browser.text("failure"))
            self.assertIn("Lost: 3 samples", self.browser.text("lines"))
        finally:
            self.browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)

    def test_text_and_labels_reach_a_contrast_of_4_5_in_both_schemes(self):
        for scheme in ("light", "dark"):
            self.browser.scheme(scheme)
            for sides in ([SMALL], [BEFORE, AFTER]):
                self.open_sides(*sides, verdict="verdict", recorded="recorded", lines=["a line"])
                self.browser.search("json")
                for text in TEXTS:
                    with self.subTest(scheme=scheme, text=text):
                        self.assertGreaterEqual(self.browser.js(CONTRAST_JS, text), 4.5)
                self.assertGreaterEqual(float(self.browser.state("contrast")), 4.5)
        self.browser.scheme("light")

    def test_paper_gets_the_graph_and_no_controls(self):
        self.open_sides(SMALL)
        pdf = base64.b64decode(self.browser.driver.print_page())
        self.assertTrue(pdf.startswith(b"%PDF"))
        self.browser.media("print")
        try:
            self.assertFalse(self.browser.part("bar").is_displayed())
            self.assertTrue(self.browser.part("canvas").is_displayed())
        finally:
            self.browser.media("")

    def test_a_deep_stack_scrolls_under_a_canvas_no_higher_than_the_window(self):
        self.open_sides({tuple((f"level_{i}", "", 2) for i in range(5000)): SECOND})
        self.assertLessEqual(self.browser.part("canvas").size["height"], 900)
        self.browser.search("level_4999", Keys.ENTER)
        self.assertEqual(self.browser.selected(), "level_4999")
        x, y, width, height = self.browser.ring()
        self.assertGreaterEqual(y, 0)
        self.assertLessEqual(y + height, self.browser.part("canvas").size["height"] + 1)
        self.browser.point(x + 20, y + 10)
        self.assertIn("level_4999", self.browser.text("tip"))

    def test_frames_too_narrow_to_draw_are_one_grey_box_that_counts_them(self):
        sides = {(MAIN, (f"tiny_{i:05}", "", 2)): 1 for i in range(20000)}
        sides[(MAIN, RENDER)] = 20000
        self.open_sides(sides, unit="samples")
        size = self.browser.part("canvas").size
        self.browser.point(size["width"] * 0.75, 50)
        self.assertIn("20 000 frames, 50.00 %", self.browser.text("tip"))
        self.browser.point(size["width"] * 0.75, 50, click=True)
        self.browser.search("tiny_00777", Keys.ENTER)
        self.assertEqual(self.browser.selected(), "tiny_00777")
        self.assertGreaterEqual(self.browser.ring()[2], 20)

    def test_a_redraw_of_100_000_nodes_touches_what_the_window_can_show(self):
        self.open_sides(large(100_000))
        self.assertEqual(self.browser.state("nodes"), "100000")
        times = {name: self.browser.state(name) for name in ("unpackMs", "decodeMs", "layoutMs", "drawMs")}
        width = self.browser.part("canvas").size["width"]
        rows = min(self.browser.part("canvas").size["height"] // 20 + 1, WINDOW_ROWS_MAX)
        first = int(self.browser.state("touched"))
        self.assertLess(int(self.browser.state("drawn")), 2 * width * rows)
        # A row has two half pixels per pixel, and each costs a box or a search over its neighbours.
        self.assertLess(first, 2 * width * rows * 4)
        self.assertLess(first, 60_000)
        for keys in ((Keys.ARROW_DOWN, Keys.ENTER), (Keys.ARROW_DOWN, Keys.ENTER), (Keys.HOME,)):
            self.browser.press(*keys)
            self.assertLessEqual(int(self.browser.state("touched")), first)
        self.browser.search("function_7")
        self.assertRegex(self.browser.text("matches"), r"matches [0-9.]+ %")
        self.browser.search("")
        self.browser.press("t")
        self.assertEqual(len(self.browser.rows("functions")), 200)
        self.open_sides(large(10_000))
        self.assertLess(first, 5 * int(self.browser.state("touched")))
        print(f"100 000 nodes: {times}, {first} touched; of 10 000: {self.browser.state('touched')}")


@unittest.skipUnless("PROFLEET_BIN" in os.environ, "PROFLEET_BIN is not set: run by ctest, or set it to the build's bin folder")
class Program(Case):
    """What the built program writes is what the page reads."""

    def profleet(self, *arguments):
        program = os.path.join(os.environ["PROFLEET_BIN"], "profleet")
        done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def folded(self, name, stacks):
        lines = [";".join(frame[0] for frame in stack) + f" {value}\n" for stack, value in stacks.items()]
        return self.browser.write(name, "".join(lines).encode())

    def out(self, name):
        return os.path.join(self.temporary.name, name)

    def test_flame_of_a_folded_file_opens_and_can_be_searched_zoomed_and_driven_by_keys(self):
        page = self.out("flame.html")
        self.profleet("flame", self.folded("small.folded", SMALL), "--out", page)
        self.browser.open(page)
        self.assertEqual(self.browser.text("failure"), "")
        self.assertEqual(self.browser.rows("top")[0][0], "json_parse")
        self.assertEqual(self.browser.rows("top")[0][2:], ["30.00 %", "40.00 %"])
        self.browser.search("json_parse", Keys.ENTER)
        self.assertEqual(self.browser.text("matches"), "1 of 1 · matches 40.00 %")
        self.browser.press(Keys.ENTER)
        self.assertEqual(self.browser.crumbs()[-3:], ["main", "serve", "json_parse"])
        self.browser.press(Keys.ARROW_DOWN)
        self.assertEqual(self.browser.selected(), "memcpy")
        self.browser.press(Keys.ESCAPE, Keys.ESCAPE, Keys.ESCAPE)
        self.assertEqual(len(self.browser.crumbs()), 1)
        self.assertEqual(self.browser.complaints(), [])

    def test_diff_of_two_folded_files_opens_with_both_sides(self):
        page = self.out("diff.html")
        self.profleet("diff", self.folded("a.folded", BEFORE), self.folded("b.folded", AFTER), "-o", "html", "--out", page)
        self.browser.open(page)
        self.assertEqual(self.browser.text("failure"), "")
        self.browser.search("json_parse", Keys.ENTER)
        self.assertIn("+20.00 pp (+50.0 %)", self.browser.text("detail"))
        self.browser.search("old_cache", Keys.ENTER)
        self.assertIn("gone", self.browser.text("detail"))
        self.assertEqual(self.browser.complaints(), [])

    def test_hostile_names_of_a_folded_file_are_text(self):
        stacks = {((name.replace(";", ":"), "", 2),): 10 for name in HOSTILE}
        page = self.out("hostile.html")
        self.profleet("flame", self.folded("hostile.folded", stacks), "--out", page)
        self.browser.open(page)
        self.browser.search("<img", Keys.ENTER)
        self.assertEqual(self.browser.selected(), HOSTILE[1])
        self.assertEqual(self.browser.js("return [typeof window.hacked, document.images.length, document.scripts.length]"),
                         ["undefined", 0, 3])
        self.assertEqual(self.browser.complaints(), [])

    def test_100_000_nodes_from_a_folded_file(self):
        stacks = large(100_000)
        page = self.out("large.html")
        self.profleet("flame", self.folded("large.folded", stacks), "--limit", "0", "--out", page)
        self.browser.open(page)
        self.assertEqual(self.browser.text("failure"), "")
        self.assertGreater(int(self.browser.state("nodes")), 90_000)
        self.assertLess(int(self.browser.state("touched")), 60_000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
