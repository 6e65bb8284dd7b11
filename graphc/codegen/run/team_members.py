"""The threads of a team, as LLVM text: how they start, wait, sleep, wake and end.

`team_text` has what they do for a job. They spin for a while after one, then they sleep in a semaphore of their own.
"""

from __future__ import annotations

from graphc.codegen.nest.team_words import (
    ALL_SIGNALS,
    BLOCK,
    CREATE,
    JOB,
    JOIN,
    LOOKS,
    MASK,
    MEMBER_WORDS,
    MEMBERS,
    NUMBER,
    POST,
    SEMAPHORE,
    SLEEPS,
    SPINS,
    STARTED,
    STOP,
    TEAM,
    THREAD,
    WAIT,
    WORKER,
    YIELD,
)

PAUSES = {
    **dict.fromkeys(("x86_64", "AMD64"), ("void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()")),
    **dict.fromkeys(("aarch64", "arm64"), ("void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)")),
}
"""How to tell a processor that a thread only waits: the call, and its declaration."""

MEMBERS_TEXT = f"""\
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

; Wake the members of a job that sleep. One that lies down at this very moment may be missed until the next job.
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
  %lies = load atomic i64, ptr %sleeps.at monotonic, align 8
  %may.sleep = icmp ne i64 %lies, 0
  br i1 %may.sleep, label %ask, label %go
ask:
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
  %run = call i64 @work(ptr %team, i64 %number, i64 %job, i64 %threads, i64 0)
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
  fence seq_cst
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
