"""Finds what became of events and whether counts are right, for commands that read while workers go on."""
