"""`contacts-report token new`: makes a static token, prints it once, and adds its hash to the file of tokens."""

import argparse
import json
import os
import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api.http.auth import OPS_SCOPE, SCOPE, token_hash
from cli.command import DONE, CommandError
from cli.options import add_settings, configuration
from stream.model.workspace import is_workspace
from stream.settings.api import ApiConfig

PREFIX = "crt_"
"""So that a token that lies about is recognised, by people and by scanners for secrets."""

TOKEN_BYTES = 32
LARGEST_DAYS = 36_500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="makes a token",
        description="Makes a token and adds its hash, a line of JSON, to the file of tokens (CONTACTS_TOKENS_FILE). "
        "The token itself is printed once and kept nowhere. A running API reads the file again by itself; a line that "
        "is taken out ends its token.",
    )
    who = new.add_mutually_exclusive_group()
    who.add_argument("--workspace", action="append", metavar="ID", help="may read this workspace; repeatable")
    who.add_argument("--all-workspaces", action="store_true", help="may read every workspace")
    new.add_argument("--ops", action="store_true", help="may see how the deployment is (/v1/ops)")
    new.add_argument("--name", default="", help="what the token is for, for who reads the file")
    new.add_argument("--expires-in-days", type=_days, metavar="DAYS", help="days until the token expires")
    new.add_argument("--json", action="store_true", help="one JSON object instead of the token alone")
    add_settings(new, ApiConfig, only=("tokens_file",))


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Make a token; raises CommandError where the file cannot be written."""
    path = configuration(ApiConfig, args, environ).tokens_file
    if path is None:
        raise CommandError("CONTACTS_TOKENS_FILE or --tokens-file names the file that keeps the hash")
    if not (args.workspace or args.all_workspaces or args.ops):
        raise CommandError("--workspace, --all-workspaces or --ops says what the token may see")
    workspaces: list[str] | str = "*" if args.all_workspaces else args.workspace or []
    impossible = [name for name in args.workspace or () if not is_workspace(name)]
    if impossible:
        raise CommandError(f"no workspace can be called {', '.join(map(repr, impossible))}")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    expires_at = None
    if args.expires_in_days is not None:
        expires_at = (datetime.now(UTC) + timedelta(days=args.expires_in_days)).isoformat(timespec="seconds")
    entry = {"name": args.name, "sha256": token_hash(token), "workspaces": workspaces, "expires_at": expires_at}
    if args.ops:
        reads = workspaces != []
        entry["scope"] = f"{SCOPE} {OPS_SCOPE}" if reads else OPS_SCOPE
    _append(path, json.dumps(entry) + "\n")
    if args.json:
        print(json.dumps({"token": token, "file": str(path), **entry}))
    else:
        print(f"The hash is in {path}; this is the token, and it is shown only now:", file=sys.stderr)
        print(token)
    return DONE


def _append(path: Path, line: str) -> None:
    """Add a line; the file is made for its owner alone. A last line without an end gets one first."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "r+b") as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                line = "\n" + line
            file.write(line.encode())
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from None


def _days(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= LARGEST_DAYS):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of 1 to {LARGEST_DAYS}")
    return int(text)
