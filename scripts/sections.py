"""Sections of BENCHMARKS.md: each is written by one script, between markers of its own."""
import pathlib

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "BENCHMARKS.md"


def replace_section(name, text, path=BENCHMARKS):
    """Puts text between the markers of the section; a new one goes to the end of the file."""
    path = pathlib.Path(path)
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in old:
        new = old[: old.index(begin)] + section + old[old.index(end) + len(end):]
    else:
        new = (old.rstrip("\n") + "\n\n" + section + "\n").lstrip("\n")
    path.write_text(new, encoding="utf-8")
