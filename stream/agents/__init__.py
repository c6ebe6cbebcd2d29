"""Faust's agents: what is done with the stream."""
