"""`.env.example` and `docs/settings.md`, written from the settings tree.

Belongs here: turning declared settings into text for people. Does not belong here: settings and
their help (see `settings`), or any other documentation.

Run `python -m resources.settings_docs` after changing a setting; a test keeps all three equal.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from resources.settings import Setting, Settings, all_settings

ROOT = Path(__file__).resolve().parents[1]
FILES = {"env": ROOT / ".env.example", "page": ROOT / "docs" / "settings.md"}

_ENV_HEAD = """\
# Settings of optrade. Copy this file to `.env` in the folder you run optrade from, and take
# away the `#` before what you want to change. The values shown are the defaults.
# A variable of the environment wins over this file. More help: docs/settings.md
"""
_PAGE_HEAD = """\
# Settings

Written from `resources/settings.py` by `python -m resources.settings_docs`; change it there.

Each setting is a variable of the environment, or a line of a file `.env` in the folder optrade \
is run from; where both say something, the environment wins. `.env.example` has every setting \
with its default. Nested names are joined by two underscores. A blank value means the default. \
An `OPTRADE_` name that is not listed here is refused, so that a slip does not pass unseen.
"""


def env_example() -> str:
    """The text of `.env.example`: every setting commented out, with one line of help."""
    parts = [_ENV_HEAD]
    for title, settings in _groups():
        lines = [f"# {title}"]
        for setting in settings:
            help_ = _first_sentence(setting)
            lines += ["", f"# {help_} Expected: {setting.expects}.", _assignment(setting)]
        parts.append("\n".join(lines) + "\n")
    return "\n\n".join(parts)


def page() -> str:
    """The text of `docs/settings.md`: a table of settings for every group."""
    parts = [_PAGE_HEAD]
    for title, settings in _groups():
        rows = [
            f"| `{s.name}` | {_code(s.default)} | {s.expects} | {s.field.description} |"
            for s in settings
        ]
        head = ["| setting | default | expected | what it does |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {title}", "", *head, *rows]) + "\n")
    return "\n".join(parts)


def _groups() -> list[tuple[str, list[Setting]]]:
    return [
        (_title(group), list(settings))
        for group, settings in groupby(all_settings(), lambda setting: setting.group)
    ]


def _title(group: type) -> str:
    if group is Settings:
        return "General"
    return (group.__doc__ or group.__name__).splitlines()[0].rstrip(".")


def _first_sentence(setting: Setting) -> str:
    text = setting.field.description or ""
    return text.split(". ")[0].rstrip(".") + "."


def _assignment(setting: Setting) -> str:
    quote = "'" if " " in setting.default else ""
    return f"# {setting.name}={quote}{setting.default}{quote}"


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


def write() -> None:
    """Rewrite both files."""
    FILES["env"].write_text(env_example(), encoding="utf-8")
    FILES["page"].write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
