"""Declares settings and reads them: each value, its origin, and all errors at once.

A setting is one field of a frozen dataclass. Everything else follows from the field's name, here for `topic`:

    flag          --topic NAME
    environment   CONTACTS_TOPIC
    TOML file     topic = "NAME"
    default       the one that the field declares

and that is also the order: the first of these that gives a value wins. Only mappings that are passed in are read;
importing a configuration, or this module, reads nothing.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

PREFIX = "CONTACTS_"
FILE_VARIABLE = "CONTACTS_CONFIG"
"""Names the TOML file where no --config does; the one variable with this prefix that is no setting."""

MASKED = "***"

T = TypeVar("T")
C = TypeVar("C", bound="Config")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How the text of a value is read, what is expected of it, and how it is shown."""

    expects: str
    read: Callable[[str], T]
    """Raises ValueError for what is not `expects`; a message of the error is added to the problem."""
    show: Callable[[T], str] = str
    mask: Callable[[str], str] | None = None
    """Makes text presentable that may hold a secret, even text that `read` refuses. None: it never holds one."""
    secret: bool = False
    """Never shown, in no report and no error; has no flag (other users of the machine see a process's flags)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a configuration, with all that the documentation says of it."""

    name: str
    kind: Kind[Any]
    default: Any
    unit: str
    meaning: str
    when_wrong: str

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str | None:
        return None if self.kind.secret else "--" + self.name.replace("_", "-")

    def show(self, value: object) -> str:
        if value is None:
            return "none"
        return MASKED if self.kind.secret else self.kind.show(value)

    def show_text(self, text: str) -> str:
        if self.kind.secret:
            return MASKED
        return f"'{self.kind.mask(text) if self.kind.mask else text}'"


def setting(kind: Kind[T], default: T, *, unit: str = "", meaning: str, when_wrong: str) -> T:
    """Declare a setting as a field of a Config; `when_wrong` tells what happens with too small or too large a value."""
    declared = {"kind": kind, "unit": unit, "meaning": meaning, "when_wrong": when_wrong}
    visible = not kind.secret and kind.mask is None
    return field(default=default, metadata=declared, repr=visible)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a configuration is made from. Every field of a subclass is declared by `setting`."""

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Fields whose values do not go together: (field, what is expected of it)."""
        return iter(())

    def remarks(self) -> Iterator[str]:
        """What works, but is worth a warning."""
        return iter(())


def settings_of(config_type: type[Config]) -> tuple[Setting, ...]:
    """The settings of a configuration, in the order in which they are declared."""
    return tuple(Setting(name=f.name, default=f.default, **f.metadata) for f in fields(config_type))


@dataclass(frozen=True, slots=True)
class Sources:
    """The places where values come from, each read by the caller already."""

    flags: Mapping[str, str | None]
    """Field name -> text; None or absent where the flag was not given."""
    environ: Mapping[str, str]
    file: Mapping[str, object]
    """The TOML file's top level; empty without a file."""
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    setting: str
    value: str
    origin: str
    expected: str

    def __str__(self) -> str:
        return f"{self.setting} = {self.value} ({self.origin}): {self.expected}"


class SettingsError(ValueError):
    """Every problem of a configuration, in one message of one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True)
class Value:
    """A setting, the text that may be shown of its value, and the place where it was set."""

    setting: Setting
    shown: str
    origin: str


@dataclass(frozen=True, slots=True)
class Reading(Generic[C]):
    """A configuration as it was read, with its faults if it has any."""

    values: tuple[Value, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    _config: C | None

    def config(self) -> C:
        """The configuration; raises SettingsError with every problem where there is one."""
        if self._config is None or self.problems:
            raise SettingsError(self.problems)
        return self._config


def read(config_type: type[C], sources: Sources, known: Iterable[type[Config]] = ()) -> Reading[C]:
    """Read one configuration.

    `known` are the other configurations that share the environment and the file: their names are no mistakes here. An
    unknown key in the file is a problem, since the file is ours alone; an unknown variable only a warning, since others
    write to the environment too. An empty value is as if absent, but for a secret's: who left it empty believes it set.
    """
    problems: list[Problem] = []
    values: list[Value] = []
    given: dict[str, object] = {}
    for one in settings_of(config_type):
        value, origin, fault = _one(one, sources)
        if fault is not None:
            problems.append(fault)
        given[one.name] = value
        values.append(Value(one, fault.value if fault else one.show(value), origin))
    all_types: list[type[Config]] = [config_type, *known]
    names = {one.name for each in all_types for one in settings_of(each)}
    problems += _unknown_keys(sources, names)
    warnings = list(_unknown_variables(sources, names))
    config = None
    if not problems:
        config = config_type(**given)
        by_name = {value.setting.name: value for value in values}
        problems += [_conflict(by_name[name], expected) for name, expected in config.conflicts()]
        warnings += config.remarks()
    return Reading(tuple(values), tuple(problems), tuple(warnings), config)


def _one(one: Setting, sources: Sources) -> tuple[object, str, Problem | None]:
    """The value of a setting (its default where it is faulty), its origin, and what is wrong with it."""
    found = _find(one, sources)
    if found is None:
        return one.default, "default", None
    origin, raw = found
    text = _text(raw)
    if text is None:
        return one.default, origin, _refuse(one, repr(raw), origin)
    if not text and not one.kind.secret:
        return one.default, "default", None
    try:
        return (one.kind.read(text) if text else _empty()), origin, None
    except ValueError as error:
        return one.default, origin, _refuse(one, text, origin, str(error))


def _empty() -> object:
    raise ValueError("it is empty")


def _refuse(one: Setting, text: str, origin: str, detail: str = "") -> Problem:
    expected = f"expected {one.kind.expects}" + (f" ({detail})" if detail else "")
    return Problem(one.variable, one.show_text(text), origin, expected)


def _find(one: Setting, sources: Sources) -> tuple[str, object] | None:
    flag = sources.flags.get(one.name)
    if flag is not None:
        return f"flag {one.flag}", flag
    if sources.environ.get(one.variable) or (one.kind.secret and one.variable in sources.environ):
        return "environment", sources.environ[one.variable]
    if one.name in sources.file:
        return f"file {sources.file_name}", sources.file[one.name]
    return None


def _text(raw: object) -> str | None:
    """A value of the file as the text that a variable would hold; None where it has no such form."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str | int | float):
        return str(raw).strip()
    if isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        return ",".join(raw)
    return None


def _conflict(value: Value, expected: str) -> Problem:
    return Problem(value.setting.variable, value.shown, value.origin, expected)


def _unknown_keys(sources: Sources, names: set[str]) -> Iterator[Problem]:
    for key, raw in sources.file.items():
        if key not in names:
            what = "a table; keys are flat" if isinstance(raw, dict) else "no such setting"
            yield Problem(key, "…", f"file {sources.file_name}", what + _nearest(key, names))


def _unknown_variables(sources: Sources, names: set[str]) -> Iterator[str]:
    variables = {PREFIX + name.upper() for name in names}
    for variable in sorted(sources.environ):
        if variable.startswith(PREFIX) and variable not in variables and variable != FILE_VARIABLE:
            yield f"{variable} (environment): no such setting{_nearest(variable, variables)}"


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return f"; the nearest is {close[0]}" if close else ""
