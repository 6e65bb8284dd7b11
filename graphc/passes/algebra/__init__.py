"""The rewriting engine, its rules, and the passes of algebra."""
