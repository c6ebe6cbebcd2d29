"""The command `contacts-report`, one file a command."""
