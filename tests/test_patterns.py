"""Each regular expression takes time linear in its text: whoever writes the text cannot stop us."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweeperd

ROOT = Path(sweeperd.__file__).parent
METHODS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer"}
LENGTH = 2**16
# Quadratic work on a text of this length takes minutes, linear work a tenth of a second.
CPU_SECONDS = 80


def trees() -> Iterator[tuple[str, ast.Module]]:
    for found in pkgutil.walk_packages([str(ROOT)], "sweeperd."):
        path = ROOT.parent / (found.name.replace(".", "/") + ".py")
        if path.exists() and not found.name.endswith("__main__"):
            yield found.name, ast.parse(path.read_text())


def uses() -> dict[tuple[str, int], set[str]]:
    """Return each pattern's text and flags with the methods that are called on it."""
    found: dict[tuple[str, int], set[str]] = {}
    methods: dict[str, set[str]] = {}
    modules = dict(trees())
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                methods.setdefault(node.value.id, set()).update({node.attr} & METHODS)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                name = "match" if node.func.attr == "compile" else node.func.attr
                flags = re.DOTALL if "DOTALL" in ast.unparse(node) else 0
                found.setdefault((str(node.args[0].value), flags), set()).add(name)
    for name in modules:
        for variable, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern):
                called = methods.get(variable) or {"fullmatch"}
                found.setdefault((value.pattern, value.flags & ~re.UNICODE), set()).update(called)
    return found


def texts(pattern: str) -> Iterator[str]:
    """Yield long texts made of what the pattern looks for, and of what almost is that."""
    words = set(re.findall(r"[A-Za-z]{3,}", pattern)) | set("aA0_ '\"\\$:@/=-+.,()[]%&\n\t")
    words |= {
        "''",
        '""',
        "\\\\",
        "://",
        "a://b:",
        "$a$",
        "e'",
        "password=",
        "password='",
        "a ",
        "1s",
    }
    words |= {" =", "0.", "a(", "a\\", "--", "FOR VALUES FROM ('", "') TO (", "a:", "''a"}
    for word in sorted(words):
        body = word * (LENGTH // len(word))
        yield body
        yield f"{body}\0"
        for start in ("'", '"', "e'", "a", "$a$", "x://", "password='", "FOR VALUES FROM ('"):
            yield f"{start}{body}\0"
    yield "".join(f"$a{number}$" for number in range(LENGTH // 8))


def work() -> None:
    for (pattern, flags), called in sorted(uses().items()):
        compiled = re.compile(pattern, flags)
        sys.stdout.write(f"{called} {pattern!r}\n")
        sys.stdout.flush()
        for text in texts(pattern):
            for name in called:
                if name == "sub":
                    compiled.sub("", text)
                elif name == "finditer":
                    list(compiled.finditer(text))
                else:
                    getattr(compiled, name)(text)


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))


def run_limited(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
        cwd=ROOT.parent,
    )


def test_every_pattern_is_linear() -> None:
    done = run_limited("from tests.test_patterns import work; work()")

    assert done.returncode == 0, (done.stdout[-600:], done.stderr[-600:])
    assert len(done.stdout.splitlines()) > 20


@pytest.mark.parametrize(
    "call",
    [
        "from sweeperd.log.safe_text import redact as f",
        "from sweeperd.log.safe_text import one_line as f",
        "from sweeperd.log.safe_text import presentable as f",
        "from sweeperd.config.values.dsn import check_dsn as f",
        "from sweeperd.config.values.dsn import hide_password as f",
        "from sweeperd.config.values.sql_expression import check_expression as f",
        "from sweeperd.postgres.names import table_readings as f",
        "from sweeperd.postgres.sql.expired import functions_in as f",
        "from sweeperd.config.files.statements import statements as s; f = lambda t: list(s(t))",
    ],
)
def test_what_reads_a_text_of_others_is_linear(call: str) -> None:
    code = f"""{call}
from tests.test_patterns import texts
for text in texts(""):
    try:
        f(text)
    except ValueError:
        pass
"""
    done = run_limited(code)

    assert done.returncode == 0, done.stderr[-600:]
