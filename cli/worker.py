"""`contacts-report worker`: one counting worker, until it is told to stop."""

import argparse
from collections.abc import Mapping

from cli.options import add_settings, configuration
from cli.tracing import tracer_of
from stream.settings.worker import WorkerConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, WorkerConfig)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    config = configuration(WorkerConfig, args, environ)
    # Faust takes a second to import, which --help and a wrong setting need not wait for.
    from stream.agents.app import create_app
    from stream.worker.process import run as count

    return count(config, create_app, tracer_of(config, "contacts-report-worker"))
