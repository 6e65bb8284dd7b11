"""Where things are in a team of threads and in the table of an instruction that it shares, in words of 64 bits.

`team` makes a team, `division` makes tables, the native side in `team_text` reads both. What one thread writes and
another reads has a cache line of its own.
"""

from __future__ import annotations

# Words of the table of an instruction.
TEAM_AT, KERNEL, THREADS, CHUNKS, GUARD, WAKES = range(6)
FIRST_CHUNK, CHUNK_WORDS = 8, 3

# Words of the team; those that several threads write are two cache lines apart.
LINE = 16
BUSY, JOB, RUNNING, CHUNKS_NOW, STATUS = 0, LINE, LINE + 1, LINE + 2, 2 * LINE
STOP, STARTED, WAIT, POST, CREATE, JOIN, YIELD, MASK, BLOCK, WORKER = range(3 * LINE, 3 * LINE + 10)
MEMBERS = 4 * LINE
# Words of a member: its claims, two lines on whether and where it sleeps, and how many chunks it has run.
CLAIM, SLEEPS, SEMAPHORE, THREAD, NUMBER, TEAM, ALL_SIGNALS, SEMAPHORE_WORDS = 0, LINE, 17, 18, 19, 20, 24, 40
DONE = 4 * LINE
MEMBER_WORDS = 5 * LINE
MAX_THREADS = 256
DRAINED = 65535
"""The next chunk of a member that has none left; it does not depend on how many there were."""

SPINS = 2000
"""How often a thread looks for work, or for the end of others' work, before it lets others have the processor."""
LOOKS = 40_000
"""How often a thread looks for work before it sleeps, about a millisecond: it then wakes on a busy processor as often
as on a free one, so a loop of calls should find it awake."""
