"""The native side of a team of threads, as LLVM text: what runs chunks, what its threads do, and what ends them.

`parallel(table, lo, hi)` is called like a kernel. It deals the chunks of one instruction to the threads of the team,
works itself, and returns when all are done, with the status of the first chunk that failed. Where another call has the
team it runs the chunks alone. The chunks of a thread are neighbours, so that what one instruction leaves in a cache is
there for the next; a thread that has none left takes those of others.

A claim is one compare-and-swap of a word that holds the number of the job, the end and the next chunk: it succeeds only
while the job runs, so a thread that wakes late reads nothing of a job that is over.
"""

from __future__ import annotations

import platform

from graphc.codegen.blas_threads import GUARD_TEXT

# Words of the table of an instruction.
TEAM_AT, KERNEL, THREADS, CHUNKS, GUARD, WAKES = range(6)
FIRST_CHUNK, CHUNK_WORDS = 8, 3

# Words of the team; those that several threads write are two cache lines apart.
LINE = 16
BUSY, JOB, RUNNING, STATUS, DONE = 0, LINE, 2 * LINE, 2 * LINE + 1, 3 * LINE
STOP, STARTED, WAIT, POST, CREATE, JOIN, YIELD, MASK, BLOCK, WORKER = range(4 * LINE, 4 * LINE + 10)
MEMBERS = 5 * LINE
# Words of a member: its claims, and two lines on whether and where it sleeps.
CLAIM, SLEEPS, SEMAPHORE, THREAD, NUMBER, TEAM, ALL_SIGNALS, SEMAPHORE_WORDS = 0, LINE, 17, 18, 19, 20, 24, 40
MEMBER_WORDS = 4 * LINE
MAX_THREADS = 256

SPINS = 2000
"""How often a thread looks for work, or for the end of others' work, before it lets others have the processor."""
LOOKS = 40_000
"""How often a thread looks for work before it sleeps, about a millisecond: it then wakes on a busy processor as often
as on a free one, so a loop of calls should find it awake."""

_PAUSES = {
    **dict.fromkeys(("x86_64", "AMD64"), ("void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()")),
    **dict.fromkeys(("aarch64", "arm64"), ("void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)")),
}
"""How to tell a processor that a thread only waits: the call, and its declaration."""


def team_text(symbol: str) -> str:
    """Return the module; its functions are `symbol` with `_parallel`, `_member` and `_end` appended."""
    call, declaration = _PAUSES.get(platform.machine(), ("void @llvm.donothing()", "declare void @llvm.donothing()"))
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

; Claim and run chunks of a job, one's own first, until none is left.
define internal void @work(ptr %team, i64 %me, i64 %job, i64 %threads) {{
entry:
  %done = getelementptr i64, ptr %team, i64 {DONE}
  %running = getelementptr i64, ptr %team, i64 {RUNNING}
  br label %next.member
next.member:
  %turn = phi i64 [ 0, %entry ], [ %turn.next, %drained ]
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
  br label %look
look:
  %word = load atomic i64, ptr %claims seq_cst, align 8
  %tag = lshr i64 %word, 32
  %current = icmp eq i64 %tag, %job
  br i1 %current, label %read, label %end
read:
  %next = and i64 %word, 65535
  %high = lshr i64 %word, 16
  %stop = and i64 %high, 65535
  %any = icmp ult i64 %next, %stop
  br i1 %any, label %claim, label %drained
claim:
  %following = add i64 %word, 1
  %swap = cmpxchg ptr %claims, i64 %word, i64 %following seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %run, label %look
run:
  %table = load ptr, ptr %running
  %status = call i64 @chunk(ptr %table, i64 %next)
  %failed = icmp ne i64 %status, 0
  br i1 %failed, label %fail, label %count
fail:
  call void @note(ptr %team, i64 %next, i64 %status)
  br label %count
count:
  %before = atomicrmw add ptr %done, i64 1 seq_cst
  br label %look
drained:
  %turn.next = add i64 %turn, 1
  br label %next.member
end:
  ret void
}}

; Start the members up to a count; return how many threads there are with the caller.
define internal i64 @start(ptr %team, i64 %wanted) {{
entry:
  %started.at = getelementptr i64, ptr %team, i64 {STARTED}
  %create.at = getelementptr i64, ptr %team, i64 {CREATE}
  %create = load ptr, ptr %create.at
  %worker.at = getelementptr i64, ptr %team, i64 {WORKER}
  %worker = load ptr, ptr %worker.at
  br label %look
look:
  %started = load i64, ptr %started.at
  %number = add i64 %started, 1
  %more = icmp ult i64 %number, %wanted
  br i1 %more, label %launch, label %all
launch:
  %scaled = mul i64 %number, {MEMBER_WORDS}
  %word = add i64 %scaled, {MEMBERS}
  %member = getelementptr i64, ptr %team, i64 %word
  %thread = getelementptr i64, ptr %member, i64 {THREAD}
  %failed = call i32 %create(ptr %thread, ptr null, ptr %worker, ptr %member)
  %works = icmp eq i32 %failed, 0
  br i1 %works, label %launched, label %fewer
launched:
  store i64 %number, ptr %started.at
  br label %look
fewer:
  ret i64 %number
all:
  ret i64 %wanted
}}

; Wake the members of a job that sleep.
define internal void @wake(ptr %team, i64 %threads) {{
entry:
  %post.at = getelementptr i64, ptr %team, i64 {POST}
  %post = load ptr, ptr %post.at
  br label %look
look:
  %number = phi i64 [ 1, %entry ], [ %number.next, %go ]
  %more = icmp ult i64 %number, %threads
  br i1 %more, label %visit, label %end
visit:
  %scaled = mul i64 %number, {MEMBER_WORDS}
  %word = add i64 %scaled, {MEMBERS}
  %member = getelementptr i64, ptr %team, i64 %word
  %sleeps.at = getelementptr i64, ptr %member, i64 {SLEEPS}
  %slept = atomicrmw xchg ptr %sleeps.at, i64 0 seq_cst
  %sleeps = icmp ne i64 %slept, 0
  br i1 %sleeps, label %rouse, label %go
rouse:
  %semaphore.at = getelementptr i64, ptr %member, i64 {SEMAPHORE}
  %semaphore = load i64, ptr %semaphore.at
  %posted = call i32 %post(i64 %semaphore)
  br label %go
go:
  %number.next = add i64 %number, 1
  br label %look
end:
  ret void
}}

; Spin a little while, then let other threads of the machine have the processor.
define internal i64 @rest(ptr %team, i64 %spins) {{
  call void @pause()
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, {SPINS}
  %low = and i64 %more, 31
  %round = icmp eq i64 %low, 0
  %polite = and i1 %long, %round
  br i1 %polite, label %give, label %end
give:
  %yield.at = getelementptr i64, ptr %team, i64 {YIELD}
  %yield = load ptr, ptr %yield.at
  %given = call i32 %yield()
  br label %end
end:
  ret i64 %more
}}

; Deal the chunks of an instruction to this thread and others, and wait for all of them.
define internal i64 @together(ptr %team, ptr %table, i64 %chunks, i64 %wanted) {{
entry:
  %threads = call i64 @start(ptr %team, i64 %wanted)
  %job.at = getelementptr i64, ptr %team, i64 {JOB}
  %last = load i64, ptr %job.at
  %number = lshr i64 %last, 16
  %following = add i64 %number, 1
  %job = and i64 %following, 2147483647
  %running = getelementptr i64, ptr %team, i64 {RUNNING}
  store ptr %table, ptr %running
  %status.at = getelementptr i64, ptr %team, i64 {STATUS}
  store atomic i64 0, ptr %status.at seq_cst, align 8
  %done = getelementptr i64, ptr %team, i64 {DONE}
  store atomic i64 0, ptr %done seq_cst, align 8
  %tag = shl i64 %job, 32
  br label %deal
deal:
  %member = phi i64 [ 0, %entry ], [ %member.next, %deal ]
  %member.next = add i64 %member, 1
  %product = mul i64 %chunks, %member
  %lo = udiv i64 %product, %threads
  %product.next = mul i64 %chunks, %member.next
  %hi = udiv i64 %product.next, %threads
  %hi.high = shl i64 %hi, 16
  %range = or i64 %hi.high, %lo
  %word = or i64 %tag, %range
  %scaled = mul i64 %member, {MEMBER_WORDS}
  %word.at = add i64 %scaled, {MEMBERS + CLAIM}
  %claims = getelementptr i64, ptr %team, i64 %word.at
  store atomic i64 %word, ptr %claims seq_cst, align 8
  %more = icmp ult i64 %member.next, %threads
  br i1 %more, label %deal, label %announce
announce:
  %job.high = shl i64 %job, 16
  %announced = or i64 %job.high, %threads
  store atomic i64 %announced, ptr %job.at seq_cst, align 8
  %wakes.at = getelementptr i64, ptr %table, i64 {WAKES}
  %wakes = load i64, ptr %wakes.at
  %pays = icmp ne i64 %wakes, 0
  br i1 %pays, label %call.all, label %begin
call.all:
  call void @wake(ptr %team, i64 %threads)
  br label %begin
begin:
  call void @work(ptr %team, i64 0, i64 %job, i64 %threads)
  br label %wait
wait:
  %spins = phi i64 [ 0, %begin ], [ %spins.next, %again ]
  %counted = load atomic i64, ptr %done seq_cst, align 8
  %all = icmp eq i64 %counted, %chunks
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

; What a thread of the team does: it looks for jobs, and sleeps where none comes.
define ptr @graphc_member(ptr %member) {{
entry:
  %team.at = getelementptr i64, ptr %member, i64 {TEAM}
  %team = load ptr, ptr %team.at
  %number.at = getelementptr i64, ptr %member, i64 {NUMBER}
  %number = load i64, ptr %number.at
  %mask.at = getelementptr i64, ptr %team, i64 {MASK}
  %mask = load ptr, ptr %mask.at
  %block.at = getelementptr i64, ptr %team, i64 {BLOCK}
  %block = load i64, ptr %block.at
  %how = trunc i64 %block to i32
  %signals = getelementptr i64, ptr %member, i64 {ALL_SIGNALS}
  %masked = call i32 %mask(i32 %how, ptr %signals, ptr null)
  %job.at = getelementptr i64, ptr %team, i64 {JOB}
  %stop.at = getelementptr i64, ptr %team, i64 {STOP}
  %sleeps.at = getelementptr i64, ptr %member, i64 {SLEEPS}
  %wait.at = getelementptr i64, ptr %team, i64 {WAIT}
  %wait = load ptr, ptr %wait.at
  %semaphore.at = getelementptr i64, ptr %member, i64 {SEMAPHORE}
  %semaphore = load i64, ptr %semaphore.at
  br label %look
look:
  %seen = phi i64 [ 0, %entry ], [ %seen, %again ], [ %seen, %awake ], [ %announced, %worked ]
  %spins = phi i64 [ 0, %entry ], [ %spins.next, %again ], [ 0, %awake ], [ 0, %worked ]
  %stopped = load atomic i64, ptr %stop.at seq_cst, align 8
  %over = icmp ne i64 %stopped, 0
  br i1 %over, label %end, label %read
read:
  %announced = load atomic i64, ptr %job.at seq_cst, align 8
  %same = icmp eq i64 %announced, %seen
  br i1 %same, label %idle, label %begin
begin:
  %threads = and i64 %announced, 65535
  %mine = icmp ult i64 %number, %threads
  br i1 %mine, label %help, label %worked
help:
  %job = lshr i64 %announced, 16
  call void @work(ptr %team, i64 %number, i64 %job, i64 %threads)
  br label %worked
worked:
  br label %look
idle:
  %long = icmp ugt i64 %spins, {LOOKS}
  br i1 %long, label %lie.down, label %again
again:
  %spins.next = call i64 @rest(ptr %team, i64 %spins)
  br label %look
lie.down:
  store atomic i64 1, ptr %sleeps.at seq_cst, align 8
  %announced.now = load atomic i64, ptr %job.at seq_cst, align 8
  %stopped.now = load atomic i64, ptr %stop.at seq_cst, align 8
  %still = icmp eq i64 %announced.now, %seen
  %going = icmp eq i64 %stopped.now, 0
  %tired = and i1 %still, %going
  br i1 %tired, label %sleep, label %awake
sleep:
  %woken = call i32 %wait(i64 %semaphore, i64 -1)
  br label %awake
awake:
  store atomic i64 0, ptr %sleeps.at seq_cst, align 8
  br label %look
end:
  ret ptr null
}}

; Take the team, end its threads and wait for them: 0, or 1 after so many vain tries. The team stays taken.
define i64 @graphc_end(ptr %team, i64 %tries) {{
entry:
  %stop.at = getelementptr i64, ptr %team, i64 {STOP}
  %started.at = getelementptr i64, ptr %team, i64 {STARTED}
  br label %take
take:
  %spins = phi i64 [ 0, %entry ], [ %spins.next, %again ]
  %swap = cmpxchg ptr %team, i64 0, i64 1 seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %won, label %taken, label %busy
busy:
  %vain = icmp ugt i64 %spins, %tries
  br i1 %vain, label %fail, label %again
again:
  %spins.next = call i64 @rest(ptr %team, i64 %spins)
  br label %take
fail:
  ret i64 1
taken:
  store atomic i64 1, ptr %stop.at seq_cst, align 8
  %started = load i64, ptr %started.at
  %all = add i64 %started, 1
  call void @wake(ptr %team, i64 %all)
  %join.at = getelementptr i64, ptr %team, i64 {JOIN}
  %join = load ptr, ptr %join.at
  br label %next
next:
  %number = phi i64 [ 1, %taken ], [ %number.next, %wait ]
  %more = icmp ult i64 %number, %all
  br i1 %more, label %wait, label %end
wait:
  %scaled = mul i64 %number, {MEMBER_WORDS}
  %word = add i64 %scaled, {MEMBERS + THREAD}
  %thread.at = getelementptr i64, ptr %team, i64 %word
  %thread = load i64, ptr %thread.at
  %joined = call i32 %join(i64 %thread, ptr null)
  %number.next = add i64 %number, 1
  br label %next
end:
  store i64 0, ptr %started.at
  store atomic i64 0, ptr %stop.at seq_cst, align 8
  ret i64 0
}}
"""
