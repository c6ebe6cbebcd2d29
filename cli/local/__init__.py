"""Servers that a command starts on this machine, and that die with it."""
