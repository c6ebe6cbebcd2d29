"""What became of events, and whether the counts are right: for commands that look, beside workers that go on."""
