"""The version of the whole product, worker, API and commands."""

VERSION = "0.1.0"
