"""What the documents name is there: pages, files, objects, commands, messages."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
from functools import reduce
from pathlib import Path

import pytest
import typer
from pages import PAGES, ROOT, rows
from test_rooms import HARDWARE, SOFTWARE

from firstspike.flow.cli import app

README = (ROOT / "README.md").read_text()


@pytest.mark.smoke
def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/*/*.md")]
    assert len(pages) > 8
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(path), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


FILE = r"(?:sw|hw|verification|docs|examples)/[\w./{},*-]+\.(?:py|md|toml|v|cpp|json|png)"


@pytest.mark.smoke
@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted(ROOT.glob("docs/adr/*.md")), ROOT / "sw/README.md", ROOT / "hw/README.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    tracked = [path.relative_to(ROOT) for folder in ("sw", "hw", "verification", "docs", "examples")
               for path in (ROOT / folder).rglob("*")]  # fmt: skip
    for named in re.findall(rf"(?<![\w/.]){FILE}", text):
        for path in braces(named):
            assert list(ROOT.glob(path)), f"{page.name} names {named}"
    for named in re.findall(r"`([\w/]+\.(?:py|cpp|v))(?:::[^`]*)?`", text):
        ends = Path(named).parts
        known = any(path.parts[-len(ends) :] == ends for path in tracked)
        assert known or named in {"top.v", "linked_top.v"} or "build/" in named or "src/" in named, (
            f"{page.name} names {named}"
        )


def braces(path: str) -> list[str]:
    """``a{b,c}d`` as ``abd`` and ``acd``."""
    head, _, rest = path.partition("{")
    if not rest:
        return [path]
    inside, _, tail = rest.partition("}")
    return [head + one + tail for one in inside.split(",")]


@pytest.mark.smoke
def test_objects_that_are_named_exist() -> None:
    """``file.py:Object.member`` of docs/where.md."""
    text = (ROOT / "docs/where.md").read_text()
    named = re.findall(r"`((?:sw|hw|verification)/[\w/]+)\.py:([\w.]+)`", text)
    assert len(named) > 40
    assert len(named) == text.count(".py:")
    for path, name in named:
        module = importlib.import_module(".".join(Path(path).parts[1:]))
        assert reduce(getattr, name.split("."), module) is not None


@pytest.mark.smoke
@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    """Verbs and options of the command line, and targets of make."""
    text = page.read_text()
    command = typer.main.get_command(app)
    verbs = {name: {o for p in verb.params for o in p.opts} for name, verb in command.commands.items()}  # type: ignore[attr-defined]
    for verb, rest in re.findall(r"(?:^| |`)firstspike ([a-z]+)\b([^`\n|#;]*)", text, re.MULTILINE):
        if verb in verbs:
            assert set(re.findall(r"--[a-z]+", rest)) <= verbs[verb] | {"--help"}, f"firstspike {verb}{rest}"
        else:
            assert f"`firstspike {verb}" not in text, f"{page.name} names the command {verb}"
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert target in targets, f"{page.name} names make {target}"
    for module in re.findall(r"python -m (firstspike[\w.]*)", text):
        assert importlib.util.find_spec(module), module


@pytest.mark.smoke
def test_rooms_are_listed_in_their_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = [
        f"{package.strip('`')}.{room}"
        for package, rooms in rows(text, "package")
        for room in re.findall(r"`(\w+)`", rooms)
    ]
    packages = (ROOT / "sw/firstspike", ROOT / "hw/firstspike_rtl", ROOT / "verification/firstspike_verify")
    assert sorted(listed) == sorted(
        f"{package.name}.{path.name}"
        for package in packages
        for path in package.iterdir()
        if (path / "__init__.py").exists()
    )
    for order in (SOFTWARE, HARDWARE):
        both = [room for room in order if room in listed]
        assert both == [room for room in listed if room in order]


def templates() -> list[list[str]]:
    """Words of every text in the packages, without what is filled in."""
    found = []
    for package in ("sw/firstspike", "hw/firstspike_rtl", "verification/firstspike_verify"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else " " for part in node.values]
                    found.append(re.findall(r"[A-Za-z]+", "".join(map(str, parts))))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.findall(r"[A-Za-z]+", node.value))
    return [words for words in found if words]


def within(few: list[str], many: list[str]) -> bool:
    rest = iter(many)
    return all(word in rest for word in few)


@pytest.mark.smoke
def test_messages_that_are_explained_exist() -> None:
    """Each message quoted under "what you see" holds the words of one in the code, in their order."""
    known = templates()
    for page in ("docs/troubleshooting.md", "docs/boards.md"):
        quoted = [re.match(r"`(.+?)`", first) for first, *_ in rows((ROOT / page).read_text(), "what you see")]
        messages = [match[1] for match in quoted if match]
        assert len(messages) > 4
        for message in messages:
            words = re.findall(r"[A-Za-z]+", message)
            fitting = [template for template in known if within(template, words)]
            assert any(len(template) >= 0.2 * len(words) for template in fitting), f"{page}: {message}"


@pytest.mark.smoke
def test_the_setup_time_is_said_once() -> None:
    """README and make say the same."""
    (said,) = re.findall(r"\(about (.*?) on first use\)", (ROOT / "Makefile").read_text())
    assert f"about {said}" in README
    shell = subprocess.run(["make", "-n", "demo", "smoke"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "firstspike run examples/digits.toml" in shell.stdout
