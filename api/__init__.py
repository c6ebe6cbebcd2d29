"""The contacts report over HTTP, and its page."""
