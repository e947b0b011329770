"""Every command that README, the book or a docstring gives is one that the program takes, and README's run.

The first line of README's quick start is run as it stands by ``.ci/run``, and so is what its second does.
"""

import re
import shlex
import shutil
from configparser import ConfigParser
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from vi_ref import __main__
from vi_ref.compare import command
from vi_ref.vectors import generate

ROOT = Path(__file__).resolve().parent.parent
FILES = [path for pattern in ("*.md", "book/*.md", "vi_ref/**/*.md", "vi_ref/**/*.py")
         for path in sorted(ROOT.glob(pattern))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
EXTRAS = ConfigParser()
EXTRAS.read(ROOT / "setup.cfg", encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PROGRAMS = ("python -m ", "python3 -m ", "pip install ", "jupyter-book ", "compare --")
#: Of the package's own programs, by what follows ``python -m``.
PARSERS = {"vi_ref gradients": __main__.gradients_parser, "vi_ref compare": command.parser,
           "vi_ref fit": __main__.parser, "vi_ref.vectors.generate": generate.parser, "vi_ref": __main__.parser}
#: Run by tests/test_paper.py where TeX is installed, on a book of two pages.
PDF = "jupyter-book build book --builder pdflatex"


def blocks(text):
    """The lines of shell commands: in ``sh`` and ``yaml`` blocks, and indented in docstrings."""
    fenced = "\n".join(re.findall(r"^```(?:sh|yaml)\n(.*?)^```", text, re.M | re.S))
    return fenced.splitlines() + re.findall(r"^    python -m .*", text, re.M)


def spans(text):
    """What stands in backticks, line breaks as spaces."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"`+([^`]+)`+", prose)]


def commands(lines):
    """The commands of some lines, each without its environment's folder and with the program's whole name."""
    for part in (part for line in lines for part in line.split(" && ")):
        said = part.split("  #")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
        if said.startswith(PROGRAMS):
            yield re.sub(r"^compare --", "python -m vi_ref compare --", said).replace("python3 ", "python ")


GIVEN = sorted({(file, said) for file, text in TEXTS.items() for said in commands([*blocks(text), *spans(text)])})
README = [said for file, said in GIVEN if file == "README.md"]


def fault(said):
    """What is wrong with a command, or None."""
    words = shlex.split(said)
    if words[:3] == ["python", "-m", "pip"] or words[0] == "pip":
        wanted = [extra for word in words for part in re.findall(r"\[(.*)\]", word) for extra in part.split(",")]
        unknown = set(wanted) - set(EXTRAS["options.extras_require"])
        return f"no extra {unknown}" if unknown else None
    if said in ("python -m venv .venv", "python -m pytest"):
        return None
    if said == PDF:
        return None
    if words[0] == "jupyter-book":
        return None if f'jupyter-book" {shlex.join(words[1:])} > ' in CI else "not the command of .ci/run"
    for program, parser in PARSERS.items():
        if said.startswith(f"python -m {program} ") or said == f"python -m {program}":
            return refused(parser(), words[2 + len(program.split()):])
    return "no such program"


def refused(parser, words):
    """What a parser says against some words: options have their whole names, and the last may lack its value."""
    unknown = [word for word in words if word.startswith("--") and word not in parser._option_string_actions]
    if unknown:
        return f"no option {unknown[0]}"
    with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()):
        try:
            parser.parse_args(words)
        except SystemExit as end:                                       # --help and --version end with 0
            lacks_value = f"{words[-1]}: expected one argument" in said.getvalue() if words else False
            return said.getvalue() if end.code and not lacks_value else None
    return None


#: README's commands of the package: what is added to each so that it is short.
SHORT = {
    "python -m vi_ref": "--steps 2 --n-samples 2",
    "python -m vi_ref --help": "",
    "python -m vi_ref gradients": "--replicates 2",
    "python -m vi_ref fit --counts vi_ref/horse_kicks.csv --pooled": "--steps 2 --n-samples 2",
    "python -m vi_ref compare --mine vi_ref.gamma_grad:dz_dshape --tolerance 4e-15": "",
    "python -m vi_ref compare --mine yourlibrary.gamma:implicit_gradient --precision float32 --tolerance 1e-5": "",
}
#: Those that are no whole command, and those that take minutes or other libraries: what runs them, and where.
NOT_RUN = {
    "python -m vi_ref compare --mine": "",
    "python -m vi_ref compare --mine MODULE:FUNCTION": "",
    "python -m vi_ref compare": ".ci/run: -m vi_ref compare --steps 2",
    "python -m vi_ref compare --speed": 'tests/test_compare.py: main(["compare", "--speed"',
    "python -m vi_ref compare factorization": 'tests/test_compare_factorization.py: main(["compare", "factorization"',
}


def test_the_command_of_the_pdf_is_the_one_that_is_tried():
    tried = (ROOT / "tests" / "test_paper.py").read_text(encoding="utf-8")
    assert '"build", BOOK, "--builder", "pdflatex"' in tried and any(said == PDF for _, said in GIVEN)


def test_every_command_is_taken():
    assert len(GIVEN) > 40
    assert [f"{file}: {said}: {fault(said)}" for file, said in GIVEN if fault(said)] == []


def test_a_command_of_the_book_is_word_for_word_one_of_readme():
    given = {said for file, text in TEXTS.items() if file.startswith("book/") for said in commands(blocks(text))}
    assert len(given) > 5 and given <= set(README)


def test_every_command_of_readme_is_run_or_said_to_run_elsewhere():
    assert {said for said in README if said.startswith("python -m vi_ref")} == {*SHORT, *NOT_RUN}
    for place in filter(None, NOT_RUN.values()):
        file, text = place.split(": ", 1)
        assert text in (ROOT / file).read_text(encoding="utf-8"), place


@pytest.mark.slow
@pytest.mark.parametrize("said", SHORT)
def test_a_command_of_readme_runs(said, tmp_path, monkeypatch, capsys):
    (tmp_path / "vi_ref").mkdir()
    shutil.copy(ROOT / "vi_ref" / "horse_kicks.csv", tmp_path / "vi_ref")
    (tmp_path / "yourlibrary").mkdir()
    (tmp_path / "yourlibrary" / "gamma.py").write_text(
        "from vi_ref import gamma_grad\n\n\ndef implicit_gradient(alpha, z):\n"
        "    return gamma_grad.dz_dshape(alpha, z).astype(alpha.dtype)\n")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(f"{said} {SHORT[said]}")[3:]
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            __main__.main(words)
    else:
        assert __main__.main(words) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("said", "found"), [
    ("python -m vi_ref fit --step 3", "no option --step"),
    ("python -m vi_ref fit --steps many", "invalid int value: 'many'"),
    ("python -m vi_ref compare factorisation", "invalid choice"),
    ("python -m vi_ref.vectors.generate", "one of the arguments --check --write is required"),
    ("python -m vi_ref.gone", "no such program"),
    ("python -m pip install -e '.[tests]'", "no extra {'tests'}"),
    ("jupyter-book build book --all -n -W", "not the command of .ci/run"),
])
def test_what_is_wrong_with_a_command_is_found(said, found):
    assert found in " ".join(fault(said).split())


def test_commands_are_found():
    text = "```sh\n.venv/bin/python -m vi_ref && pip install x\n```\n`compare\n--speed`, `c`\n\n    python -m a  # b\n"
    assert list(commands([*blocks(text), *spans(text)])) == [
        "python -m vi_ref", "pip install x", "python -m a", "python -m vi_ref compare --speed"]
