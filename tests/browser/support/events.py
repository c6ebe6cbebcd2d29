"""Believable events for the stand-in, drawn from a seed: the same each time."""

import random
from functools import cache

from tests.browser.support.stand_in import Event

DAY = 86_400
PEOPLE = (
    ("u_1", "Ada Lovelace"),
    ("u_2", "Grace Hopper"),
    ("u_3", "Zoë Müller"),
    ("u_4", "李小龙"),
    ("u_5", "Nur Aisyah"),
    ("u_6", "Олена Шевченко"),
    ("u_7", "Kwame Mensah"),
    ("u_8", "José García"),
    ("u_9", "Ingrid Ås"),
    ("u_10", None),
    ("u_11", "Maximiliane von und zu Hohenstein-Wolfratshausen"),
)
CONTACTS = ("Amelia", "Liam", "Søren", "Chloé", "Budi", "Mei Ling", "Olivia", "Noor", "Ravi", "Yuki", "Tomás", "Hanna")
LAST = ("Tan", "Okafor", "Silva", "Kowalski", "Nakamura", "Haddad", "Berg", "Rossi", "Nguyen", "O’Neill")
WEIGHTS = {"incoming_message": 46, "developer_api": 20, "contact_import": 6, "user": 20, "echo_message": 7, None: 1}


@cache
def believable(now: float, days: int = 60, seed: int = 7, workspace: str = "w1", a_day: int = 90) -> tuple[Event, ...]:
    """`days` of working hours and quiet nights up to `now`, with deletions and a few imports."""
    draw = random.Random(seed)
    events: list[Event] = []
    for day in range(days):
        begins = now - (day + 1) * DAY
        busy = 0.45 if int(begins // DAY) % 7 in (2, 3) else 1.0
        for number in range(int(a_day * busy * draw.uniform(0.75, 1.25))):
            at = begins + min(DAY - 1.0, max(0.0, draw.gauss(DAY * 0.55, DAY * 0.17)))
            events.append(_event(draw, at, f"{workspace}-{day}-{number}", workspace))
        if day % 6 == 2:
            batch = f"import-{seed}-{day}"
            size = draw.randint(40, 160)
            events.extend(
                Event(
                    begins + DAY * 0.45 + number / 8,
                    f"{batch}-{number}",
                    "added",
                    workspace,
                    str(900_000 + day * 1_000 + number),
                    _name(draw),
                    "contact_import",
                    "u_2",
                    "Grace Hopper",
                    batch,
                )
                for number in range(size)
            )
    return tuple(events)


def _name(draw: random.Random) -> str:
    return f"{draw.choice(CONTACTS)} {draw.choice(LAST)}"


def _event(draw: random.Random, at: float, id_: str, workspace: str) -> Event:
    deleted = draw.random() < 0.12
    source = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    by_person = deleted or source in ("user", "contact_import")
    user, label = draw.choices(PEOPLE, range(len(PEOPLE), 0, -1))[0] if by_person else (None, None)
    contact = str(draw.randint(10_000, 99_999))
    return Event(at, id_, "deleted" if deleted else "added", workspace, contact, _name(draw), source, user, label, None)
