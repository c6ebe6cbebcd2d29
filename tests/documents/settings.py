"""docs/settings.md, written from the configurations' own types."""

from collections.abc import Iterator

from stream.settings.api import ApiConfig
from stream.settings.declare import FILE_VARIABLE, Config, Setting, settings_of
from stream.settings.worker import SharedConfig, WorkerConfig

INTRODUCTION = f"""# Settings

Every setting can be given in four ways; the first of these that gives a value wins:

1. a flag, `--dedupe-window-hours 48`
2. an environment variable, `CONTACTS_DEDUPE_WINDOW_HOURS=48`
3. a TOML file, `dedupe_window_hours = 48`, named by `--config FILE` or `{FILE_VARIABLE}`
4. the default

`contacts-report config` prints each value and where it came from, secrets masked. A wrong value stops a command at its
start; all wrong values are told together. An empty variable is as if absent, but a secret's is refused. A key
of the file that is no setting is an error, a `CONTACTS_` variable that is none a warning. A secret has no flag: other
users of a machine see a process's flags.

This page is generated from the code (`./dev docs`); a test fails where the two differ.
"""

PARTS: tuple[tuple[str, type[Config]], ...] = (
    ("Worker and API", SharedConfig),
    ("Worker and topics", WorkerConfig),
    ("API", ApiConfig),
)


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_parts()])


def _parts() -> Iterator[str]:
    seen: set[str] = set()
    for title, config_type in PARTS:
        yield f"## {title}\n"
        for one in settings_of(config_type):
            if one.name not in seen:
                seen.add(one.name)
                yield _setting(one)


def _setting(one: Setting) -> str:
    unit = f", in {one.unit}" if one.unit else ""
    flag = f", flag `{one.flag}`" if one.flag else ""
    return (
        f"### `{one.variable}`\n\n{one.meaning}\n\n"
        f"- Value: {one.kind.expects}{unit}\n- Default: `{one.show(one.default)}`\n"
        f"- When it is wrong: {one.when_wrong}\n- File key `{one.name}`{flag}\n"
    )
