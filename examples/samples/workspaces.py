"""The workspaces and people of the sample events."""

from dataclasses import dataclass
from enum import Enum
from zoneinfo import ZoneInfo


class Rhythm(Enum):
    """When in a local day something happens, as 24 weights from midnight on."""

    OFFICE = (0, 0, 0, 0, 0, 0, 0.1, 0.6, 2.5, 5, 6, 5.5, 2.8, 3.8, 5.5, 5.6, 5, 3.2, 1.2, 0.5, 0.3, 0.2, 0.1, 0)
    CUSTOMERS = (
        0.6,
        0.3,
        0.2,
        0.1,
        0.1,
        0.2,
        0.5,
        1.2,
        2.2,
        3,
        3.5,
        3.8,
        4,
        3.6,
        3.2,
        3,
        3,
        3.2,
        3.8,
        4.6,
        5,
        4.4,
        2.8,
        1.4,
    )
    MACHINES = (1.0,) * 24


@dataclass(frozen=True, slots=True)
class Channel:
    """One source of contacts in a workspace."""

    source: str | None
    share: float
    """Of the workspace's additions that are no imports; the shares of a workspace sum to 1."""
    rhythm: Rhythm
    by_user: bool = False


@dataclass(frozen=True, slots=True)
class Workspace:
    workspace_id: str
    zone: ZoneInfo
    daily: float
    """Additions on a working day, imports apart."""
    users: tuple[tuple[str, str], ...]
    """Id and name; the first does the imports."""
    given: tuple[str, ...]
    family: tuple[str, ...]
    family_first: bool
    channels: tuple[Channel, ...]
    imports: float
    """How many there are in 60 days."""
    weekend: tuple[int, ...] = (5, 6)
    """Days of rest of the office, 0 is Monday."""
    integer_ids: bool = False
    local_offset: bool = False
    """Its publisher writes times with the local offset instead of `Z`."""
    fraction_digits: int = 3


def _channels(
    messages: float, api: float, user: float, echo: float, none: float = 0.0, other: str | None = None
) -> tuple[Channel, ...]:
    channels = [
        Channel("incoming_message", messages, Rhythm.CUSTOMERS),
        Channel("developer_api", api, Rhythm.MACHINES),
        Channel("user", user, Rhythm.OFFICE, by_user=True),
        Channel("echo_message", echo, Rhythm.OFFICE, by_user=True),
        Channel(None, none, Rhythm.OFFICE),
    ]
    rest = 1.0 - messages - api - user - echo - none
    if other is not None:
        channels.append(Channel(other, rest, Rhythm.CUSTOMERS))
    return tuple(channel for channel in channels if channel.share > 0)


WORKSPACES = (
    Workspace(
        "harbour-clinic",
        ZoneInfo("Asia/Kuala_Lumpur"),
        310,
        (
            ("u_1", "Nurul Aisyah"),
            ("u_2", "陳美玲"),
            ("u_3", "Arjun Pillai"),
            ("u_4", "Siti Hajar"),
            ("u_5", "Wei Jie"),
        ),
        ("Ahmad", "Aisyah", "Farid", "Mei Ling", "Wei", "Kavitha", "Ravi", "Hui Min", "Zulkifli", "Priya"),
        ("Tan", "Lim", "Abdullah", "Ismail", "Subramaniam", "Wong", "Ong", "Hassan", "Raj", "Lee"),
        False,
        _channels(0.62, 0.14, 0.14, 0.09, 0.01),
        3,
    ),
    Workspace(
        "cascade-outfitters",
        ZoneInfo("America/Los_Angeles"),
        220,
        (
            ("ada@cascade.example", "Ada Whitman"),
            ("lou@cascade.example", "Lou O’Brien"),
            ("jo@cascade.example", "Jo Park"),
        ),
        ("Emma", "Liam", "Noah", "Olivia", "Ava", "Mateo", "Zoë", "Chloé", "Jack", "Renée"),
        ("Smith", "García", "Johnson", "Nguyen", "Brown", "Müller", "O’Neill", "Kim", "Lopez", "Clark"),
        False,
        _channels(0.34, 0.38, 0.08, 0.05, other="web_form"),
        4,
    ),
    Workspace(
        "kyoto-ryokan",
        ZoneInfo("Asia/Tokyo"),
        140,
        (("kenji", "佐藤 健二"), ("yuki", "高橋 由紀"), ("hana", "伊藤 花")),
        ("健二", "由紀", "花子", "翔太", "美咲", "さくら", "大輔", "陽菜", "拓海", "葵"),
        ("佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤"),
        True,
        _channels(0.55, 0.25, 0.12, 0.08),
        1,
        weekend=(),
        local_offset=True,
    ),
    Workspace(
        "alpenrad-wien",
        ZoneInfo("Europe/Vienna"),
        95,
        (("17", "Jörg Größing"), ("18", "Žofie Nováková"), ("23", "Łukasz Wiśniewski"), ("31", "Özlem Yıldız")),
        ("Anna", "Lukas", "Jürgen", "Sophie", "Björn", "Käthe", "Maximilian", "Françoise", "Ágnes", "Dvořák"),
        ("Huber", "Gruber", "Bauer", "Wagner", "Größ", "Müller", "Steiner", "Szabó", "Horvat", "Novák"),
        False,
        _channels(0.3, 0.2, 0.32, 0.16, 0.02),
        2,
        integer_ids=True,
        local_offset=True,
        fraction_digits=0,
    ),
    Workspace(
        "mumbai-academy",
        ZoneInfo("Asia/Kolkata"),
        170,
        (("u-anita", "अनीता शर्मा"), ("u-rahul", "राहुल वर्मा"), ("u-devi", "தேவி கிருஷ்ணன்"), ("u-sam", "Sam D’Souza")),
        ("अनीता", "राहुल", "प्रिया", "अमित", "सुनीता", "विकास", "दिव्या", "Aarav", "Ishaan", "Meera"),
        ("शर्मा", "वर्मा", "पटेल", "सिंह", "गुप्ता", "जोशी", "Iyer", "Nair", "Khan", "Das"),
        False,
        _channels(0.45, 0.33, 0.12, 0.08, 0.02),
        3,
        weekend=(6,),
        integer_ids=True,
        fraction_digits=6,
    ),
    Workspace(
        "nile-market",
        ZoneInfo("Africa/Cairo"),
        75,
        (("mona", "منى عبد الله"), ("karim", "كريم حسن"), ("tamar", "תמר לוי")),
        ("محمد", "فاطمة", "أحمد", "ليلى", "يوسف", "مريم", "عمر", "نور", "خالد", "سارة"),
        ("حسن", "علي", "إبراهيم", "عبد الله", "محمود", "السيد", "منصور", "فؤاد", "صالح", "نصر"),
        False,
        _channels(0.7, 0.08, 0.12, 0.1),
        1,
        weekend=(4, 5),
    ),
    Workspace(
        "luna-bogota",
        ZoneInfo("America/Bogota"),
        30,
        (("sofia", "Sofía Peña 🌙"), ("ivan", "Иван Петров")),
        ("Sofía", "José", "María", "Andrés", "Lucía", "Íñigo", "Ximena", "Ángel", "Valentina", "Иван"),
        ("Peña", "Rodríguez", "Gómez", "Muñoz", "Núñez", "Castaño", "Ríos", "Salazar", "Петров", "Quiñones"),
        False,
        _channels(0.66, 0.0, 0.2, 0.12, 0.02),
        1,
    ),
)
