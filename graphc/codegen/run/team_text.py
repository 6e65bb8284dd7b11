"""The native side of a team of threads, as LLVM text: how the chunks of an instruction are dealt out and run.

`parallel(table, lo, hi)` is called like a kernel. It deals the chunks of one instruction to the threads of the team,
works itself, and returns when all are done, with the status of the first chunk that failed. Where another call has the
team it runs the chunks alone. The chunks of a thread are neighbours, so that what one instruction leaves in a cache is
there for the next; a thread that has none left takes those of others.

A handover costs what it takes to move cache lines between processors, so few are moved. The caller writes one line,
which the others watch: the number of the job, its threads, its chunks and its table. A member's claims are in a line
of its own, which nobody need write before a job: a word with the number of an earlier job says that none of the
member's chunks has been claimed. What a member has run it adds up in another line of its own, which the caller reads.

A claim is one compare-and-swap of a word that holds the number of the job and the next chunk. It succeeds only while
the job runs: a thread that wakes late finds words that say that all has been claimed, or the number of a later job.
The first claim, of the caller's own chunks, needs none: they are announced with it.
"""

from __future__ import annotations

import platform

from graphc.codegen.nest.team_words import (
    CHUNK_WORDS,
    CHUNKS,
    CHUNKS_NOW,
    CLAIM,
    DONE,
    DRAINED,
    FIRST_CHUNK,
    GUARD,
    JOB,
    KERNEL,
    MEMBER_WORDS,
    MEMBERS,
    RUNNING,
    STATUS,
    TEAM_AT,
    THREADS,
    WAKES,
)
from graphc.codegen.run.blas_threads import GUARD_TEXT
from graphc.codegen.run.team_members import MEMBERS_TEXT, PAUSES


def team_text(symbol: str) -> str:
    """Return the module; its functions are `symbol` with `_parallel`, `_member` and `_end` appended."""
    call, declaration = PAUSES.get(platform.machine(), ("void @llvm.donothing()", "declare void @llvm.donothing()"))
    return f"{declaration}\n" + _TEXT.replace("void @pause()", call).replace("@graphc", f"@{symbol}")


_TEXT = f"""
; Run one chunk.
define internal i64 @chunk(ptr %table, i64 %number) {{
  %scaled = mul i64 %number, {CHUNK_WORDS}
  %first = add i64 %scaled, {FIRST_CHUNK}
  %at = getelementptr i64, ptr %table, i64 %first
  %frame = load i64, ptr %at
  %at.lo = getelementptr i64, ptr %at, i64 1
  %lo = load i64, ptr %at.lo
  %at.hi = getelementptr i64, ptr %at, i64 2
  %hi = load i64, ptr %at.hi
  %at.kernel = getelementptr i64, ptr %table, i64 {KERNEL}
  %kernel = load ptr, ptr %at.kernel
  %status = call i64 %kernel(i64 %frame, i64 %lo, i64 %hi)
  ret i64 %status
}}

; Keep the status of the first chunk that failed.
define internal void @note(ptr %team, i64 %number, i64 %status) {{
  %at = getelementptr i64, ptr %team, i64 {STATUS}
  %from.one = add i64 %number, 1
  %high = shl i64 %from.one, 16
  %word = or i64 %high, %status
  br label %look
look:
  %known = load atomic i64, ptr %at seq_cst, align 8
  %none = icmp eq i64 %known, 0
  %earlier = icmp ult i64 %word, %known
  %better = or i1 %none, %earlier
  br i1 %better, label %write, label %end
write:
  %swap = cmpxchg ptr %at, i64 %known, i64 %word seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %end, label %look
end:
  ret void
}}

; Run a chunk of the job that runs, and keep its status where it failed.
define internal void @do(ptr %team, i64 %number) {{
  %running = getelementptr i64, ptr %team, i64 {RUNNING}
  %table = load ptr, ptr %running
  %status = call i64 @chunk(ptr %table, i64 %number)
  %failed = icmp ne i64 %status, 0
  br i1 %failed, label %fail, label %end
fail:
  call void @note(ptr %team, i64 %number, i64 %status)
  br label %end
end:
  ret void
}}

; Claim and run chunks of a job, one's own first, until none is left; return how many one has run, and say it.
define internal i64 @work(ptr %team, i64 %me, i64 %job, i64 %threads, i64 %first) {{
entry:
  %chunks.at = getelementptr i64, ptr %team, i64 {CHUNKS_NOW}
  %chunks = load atomic i64, ptr %chunks.at monotonic, align 8
  %own = mul i64 %me, {MEMBER_WORDS}
  %done.word = add i64 %own, {MEMBERS + DONE}
  %done = getelementptr i64, ptr %team, i64 %done.word
  %job.high = shl i64 %job, 16
  br label %next.member
next.member:
  %turn = phi i64 [ 0, %entry ], [ %turn.next, %next ]
  %known = phi i64 [ %first, %entry ], [ %count, %next ]
  %left = icmp ult i64 %turn, %threads
  br i1 %left, label %visit, label %end
visit:
  %sum = add i64 %me, %turn
  %beyond = icmp uge i64 %sum, %threads
  %wrapped = sub i64 %sum, %threads
  %member = select i1 %beyond, i64 %wrapped, i64 %sum
  %scaled = mul i64 %member, {MEMBER_WORDS}
  %word.at = add i64 %scaled, {MEMBERS + CLAIM}
  %claims = getelementptr i64, ptr %team, i64 %word.at
  %product = mul i64 %chunks, %member
  %lo = udiv i64 %product, %threads
  %product.next = add i64 %product, %chunks
  %stop = udiv i64 %product.next, %threads
  br label %look
look:
  %count = phi i64 [ %known, %visit ], [ %count, %claim ], [ %count.next, %run ]
  %word = load atomic i64, ptr %claims seq_cst, align 8
  %tag = lshr i64 %word, 16
  %over = icmp ugt i64 %tag, %job
  br i1 %over, label %drained, label %read
read:
  %fresh = icmp ult i64 %tag, %job
  %low = and i64 %word, 65535
  %next.chunk = select i1 %fresh, i64 %lo, i64 %low
  %any = icmp ult i64 %next.chunk, %stop
  br i1 %any, label %claim, label %drained
claim:
  %after = add i64 %next.chunk, 1
  %last = icmp eq i64 %after, %stop
  %following = select i1 %last, i64 {DRAINED}, i64 %after
  %claimed = or i64 %job.high, %following
  %swap = cmpxchg ptr %claims, i64 %word, i64 %claimed seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %run, label %look
run:
  call void @do(ptr %team, i64 %next.chunk)
  %count.next = add i64 %count, 1
  br label %look
drained:
  %more = icmp ne i64 %count, %known
  br i1 %more, label %say, label %next
say:
  %report = or i64 %job.high, %count
  store atomic i64 %report, ptr %done release, align 8
  br label %next
next:
  %turn.next = add i64 %turn, 1
  br label %next.member
end:
  ret i64 %known
}}

; Count the chunks of a job that the members have run.
define internal i64 @counted(ptr %team, i64 %job, i64 %threads) {{
entry:
  br label %look
look:
  %number = phi i64 [ 1, %entry ], [ %number.next, %visit ]
  %sum = phi i64 [ 0, %entry ], [ %sum.next, %visit ]
  %more = icmp ult i64 %number, %threads
  br i1 %more, label %visit, label %end
visit:
  %scaled = mul i64 %number, {MEMBER_WORDS}
  %word.at = add i64 %scaled, {MEMBERS + DONE}
  %done = getelementptr i64, ptr %team, i64 %word.at
  %word = load atomic i64, ptr %done acquire, align 8
  %tag = lshr i64 %word, 16
  %current = icmp eq i64 %tag, %job
  %low = and i64 %word, 65535
  %run = select i1 %current, i64 %low, i64 0
  %sum.next = add i64 %sum, %run
  %number.next = add i64 %number, 1
  br label %look
end:
  ret i64 %sum
}}

; Share the chunks of an instruction with other threads, and wait for all of them.
define internal i64 @together(ptr %team, ptr %table, i64 %chunks, i64 %wanted) {{
entry:
  %threads = call i64 @start(ptr %team, i64 %wanted)
  %job.at = getelementptr i64, ptr %team, i64 {JOB}
  %last = load i64, ptr %job.at
  %number = lshr i64 %last, 16
  %job = add i64 %number, 1
  %status.at = getelementptr i64, ptr %team, i64 {STATUS}
  %before = load atomic i64, ptr %status.at seq_cst, align 8
  %clean = icmp eq i64 %before, 0
  br i1 %clean, label %announce, label %wipe
wipe:
  store atomic i64 0, ptr %status.at seq_cst, align 8
  br label %announce
announce:
  %running = getelementptr i64, ptr %team, i64 {RUNNING}
  store ptr %table, ptr %running
  %chunks.at = getelementptr i64, ptr %team, i64 {CHUNKS_NOW}
  store atomic i64 %chunks, ptr %chunks.at monotonic, align 8
  %job.high = shl i64 %job, 16
  %share = udiv i64 %chunks, %threads
  %only = icmp eq i64 %share, 1
  %following = select i1 %only, i64 {DRAINED}, i64 1
  %first = or i64 %job.high, %following
  %claims = getelementptr i64, ptr %team, i64 {MEMBERS + CLAIM}
  store atomic i64 %first, ptr %claims release, align 8
  %announced = or i64 %job.high, %threads
  store atomic i64 %announced, ptr %job.at release, align 8
  %wakes.at = getelementptr i64, ptr %table, i64 {WAKES}
  %wakes = load i64, ptr %wakes.at
  %pays = icmp ne i64 %wakes, 0
  br i1 %pays, label %call.all, label %begin
call.all:
  call void @wake(ptr %team, i64 %threads)
  br label %begin
begin:
  call void @do(ptr %team, i64 0)
  %own = call i64 @work(ptr %team, i64 0, i64 %job, i64 %threads, i64 1)
  %others = sub i64 %chunks, %own
  br label %wait
wait:
  %spins = phi i64 [ 0, %begin ], [ %spins.next, %again ]
  %counted = call i64 @counted(ptr %team, i64 %job, i64 %threads)
  %all = icmp eq i64 %counted, %others
  br i1 %all, label %end, label %again
again:
  %spins.next = call i64 @rest(ptr %team, i64 %spins)
  br label %wait
end:
  %found = load atomic i64, ptr %status.at seq_cst, align 8
  %status = and i64 %found, 65535
  ret i64 %status
}}

; Run the chunks of an instruction in order.
define internal i64 @alone(ptr %table, i64 %chunks) {{
entry:
  br label %look
look:
  %number = phi i64 [ 0, %entry ], [ %number.next, %run ]
  %more = icmp ult i64 %number, %chunks
  br i1 %more, label %run, label %good
run:
  %status = call i64 @chunk(ptr %table, i64 %number)
  %number.next = add i64 %number, 1
  %failed = icmp ne i64 %status, 0
  br i1 %failed, label %bad, label %look
bad:
  ret i64 %status
good:
  ret i64 0
}}

{GUARD_TEXT}
define internal i64 @divided(ptr %table) {{
  %chunks.at = getelementptr i64, ptr %table, i64 {CHUNKS}
  %chunks = load i64, ptr %chunks.at
  %threads.at = getelementptr i64, ptr %table, i64 {THREADS}
  %threads = load i64, ptr %threads.at
  %several = icmp ugt i64 %threads, 1
  br i1 %several, label %ask, label %single
ask:
  %team.at = getelementptr i64, ptr %table, i64 {TEAM_AT}
  %team = load ptr, ptr %team.at
  %swap = cmpxchg ptr %team, i64 0, i64 1 seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %shared, label %single
shared:
  %status = call i64 @together(ptr %team, ptr %table, i64 %chunks, i64 %threads)
  store atomic i64 0, ptr %team seq_cst, align 8
  ret i64 %status
single:
  %own = call i64 @alone(ptr %table, i64 %chunks)
  ret i64 %own
}}

define i64 @graphc_parallel(ptr %table, i64 %lo, i64 %hi) {{
  %guard.at = getelementptr i64, ptr %table, i64 {GUARD}
  %guard = load ptr, ptr %guard.at
  %guarded = icmp ne ptr %guard, null
  br i1 %guarded, label %limited, label %free
limited:
  call void @enter(ptr %guard)
  %status = call i64 @divided(ptr %table)
  call void @leave(ptr %guard)
  ret i64 %status
free:
  %own = call i64 @divided(ptr %table)
  ret i64 %own
}}
{MEMBERS_TEXT}"""
