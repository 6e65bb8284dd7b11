"""Where values live, and which may share memory."""
