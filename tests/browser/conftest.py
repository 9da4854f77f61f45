"""The report page in a real browser. Skipped, with the reason, where there is no Chromium or no playwright to drive it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.write import write_report
from results import load
from tests.reports.synthetic_runs import FakeRun, clean, fgsm, pgd, write_run

HOSTILE = "<script>alert(1)</script>"
FAILURE = "</script> & it broke"
Open = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two presets of two scenarios, three seeds: two rows that cannot be told apart, one far below, a hostile label, and below
    the line a failed and an unfinished row."""
    root = tmp_path_factory.mktemp("stored")
    for seed in range(3):
        write_run(root, FakeRun("cmat", seed=seed, quality=2.0))
        write_run(root, FakeRun("packnet", seed=seed, quality=2.0))
        write_run(root, FakeRun("madry_at", HOSTILE, seed=seed, quality=1.0, forgets=0.4))
        write_run(root, FakeRun("joint_at", seed=seed, quality=0.2, all_at_once=True))
    failure = {"stage": "train", "message": FAILURE}
    write_run(root, FakeRun("trades", learned=1, failure=failure))
    write_run(root, FakeRun("packnet", "unfinished", learned=2, settings={"a": 1}))
    for method in ("cmat", "packnet"):
        other = FakeRun(
            method,
            preset="other",
            identity={"scenario": {"name": "photographs", "fingerprint": "other"}},
            final=[fgsm("1/10")],
            matrix=[clean(), pgd(7, "1/10")],
            eps="1/10",
            tasks=2,
        )
        write_run(root, other)
    return write_report(load(root, None), tmp_path_factory.mktemp("report")).output


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make test-browser installs it"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        # Containers run as root, where Chromium's own sandbox cannot start; the page is ours.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, report: Path) -> Iterator[Open]:
    """`opened(hash="", page=index.html, **options of the browser's context)`: the page, open in a context of its own.

    At the end nothing may have been said on the console, and nothing but the page itself asked for.
    """
    contexts, said, asked = [], [], []

    def open_page(hash: str = "", path: Path = report / "index.html", **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}") or dialog.dismiss())
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.goto(path.as_uri() + hash)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said
    assert all(url.endswith("index.html") for url in asked), asked
