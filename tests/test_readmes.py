"""README.md and README.zh-CN.md tell the same, and nothing that the program does not have. No model is run."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image

import vaecheck
from vaecheck.cli.app import app
from vaecheck.results.comparison import ALPHA

REPOSITORY = Path(__file__).parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
BOTH = pytest.mark.parametrize("name", [ENGLISH, CHINESE])

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^<!-- output: ([^\n]*) -->\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACEHOLDER = "COMMAND"


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """Without fenced blocks and comments."""
    return re.sub(r"<!--.*?-->", "", FENCED.sub("", read(name)), flags=re.DOTALL)


def spans(name: str) -> set[str]:
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(name))}


def headings(name: str) -> list[tuple[str, str]]:
    """Level and words of each."""
    return re.findall(r"^(#+) (.+)$", FENCED.sub("", read(name)), flags=re.MULTILINE)


def uncommented(code: str) -> list[str]:
    return [line.partition("#")[0].rstrip() for line in code.splitlines()]


def in_words(line: str) -> Iterator[list[str]]:
    """The arguments of each vaecheck of a shell line, after its variables."""
    for command in line.removeprefix("$ ").split("&&"):
        words = shlex.split(command, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and words[0] == "vaecheck":
            yield words[1:]


def typed(name: str) -> list[list[str]]:
    """The command lines of all fenced blocks, and those that the marks of their outputs name."""
    lines = [mark for mark, _ in OUTPUT.findall(read(name))]
    lines += [line for _, block in FENCED.findall(read(name)) for line in block.splitlines()]
    lines = [line for line in lines if line.startswith(("$ ", "vaecheck ")) or "&& vaecheck " in line]
    return [words for line in lines for words in in_words(line)]


@functools.cache
def program() -> Any:
    """The click command of the whole program."""
    return typer.main.get_command(app)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The click command, down the groups, and its arguments."""
    command = program()
    while hasattr(command, "commands"):
        assert words, "a group alone"
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def leaves(command: Any = None, path: str = "vaecheck") -> Iterator[str]:
    command = command or program()
    if not hasattr(command, "commands"):
        yield path
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, f"{path} {name}")


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_same_outputs() -> None:
    assert OUTPUT.findall(read(ENGLISH)) == OUTPUT.findall(read(CHINESE))
    assert len(OUTPUT.findall(read(ENGLISH))) > 10


def test_the_same_code_but_for_comments() -> None:
    english, chinese = FENCED.findall(read(ENGLISH)), FENCED.findall(read(CHINESE))
    assert [language for language, _ in english] == [language for language, _ in chinese]
    for (language, one), (_, other) in zip(english, chinese, strict=True):
        if language:
            assert uncommented(one) == uncommented(other)
    assert typed(ENGLISH) == typed(CHINESE)


def test_the_same_structure() -> None:
    english, chinese = headings(ENGLISH), headings(CHINESE)
    assert [level for level, _ in english] == [level for level, _ in chinese]
    rows, items = (re.compile(pattern, re.MULTILINE) for pattern in (r"^\|.*\|$", r"^(?:- |\d+\. )"))
    assert len(rows.findall(prose(ENGLISH))) == len(rows.findall(prose(CHINESE)))
    assert len(items.findall(prose(ENGLISH))) == len(items.findall(prose(CHINESE)))


def test_the_same_names_and_commands_are_spoken_of() -> None:
    assert spans(ENGLISH) == spans(CHINESE)


@BOTH
def test_every_command_is_there(name: str) -> None:
    text = " ".join(read(name).split())
    assert [path for path in leaves() if not re.search(rf"{path}\b", text)] == []


@BOTH
def test_every_public_name_is_there(name: str) -> None:
    text = read(name)
    assert [one for one in vaecheck.__all__ if not re.search(rf"\b{one}\b", text) and one != "__version__"] == []


@BOTH
def test_the_level_of_a_winner(name: str) -> None:
    assert re.findall(r"p [^\d]*(0\.\d+)[^\n]*\s*[^\n]*`psnr_db`", prose(name)) == [str(ALPHA)]


@BOTH
def test_command_lines_parse(name: str) -> None:
    assert len(typed(name)) > 15
    for words in typed(name):
        command, arguments = find_command(words)
        command.make_context(command.name, arguments)  # raises for an unknown option or value


@BOTH
def test_commands_in_prose_exist(name: str) -> None:
    for span in spans(name):
        words = span.split()
        if words[0] == "vaecheck" and len(words) > 1 and PLACEHOLDER not in words and not words[1].startswith("-"):
            path = [word for word in words[1:] if not word.startswith("-")]
            command = program()
            while path and hasattr(command, "commands") and path[0] in command.commands:
                command = command.commands[path.pop(0)]
            assert command.name != "vaecheck", span
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known, span


@BOTH
def test_links_lead_somewhere(name: str) -> None:
    anchors = {slug(words) for _, words in headings(name)}
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(name))
    assert len(targets) > 20
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (REPOSITORY / target).exists(), target


def test_each_leads_to_the_other() -> None:
    top = {name: read(name).splitlines()[2] for name in (ENGLISH, CHINESE)}
    assert f"]({CHINESE})" in top[ENGLISH]
    assert f"]({ENGLISH})" in top[CHINESE]


@BOTH
def test_the_picture_of_the_report(name: str) -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", read(name))
    assert (REPOSITORY / picture).stat().st_size < 400_000
    with Image.open(REPOSITORY / picture) as opened:
        opened.load()
        assert min(opened.size) > 500


@BOTH
def test_no_path_of_one_machine(name: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:root|home|work|tmp|Users|mnt|data)/\S*", read(name)) == []
