"""Jobs of the server one after another, also where clients leave in the middle of an evaluation."""

import asyncio
import threading
import time

from lossatlas.serve._jobs import Jobs


def test_a_job_begins_when_the_one_before_does_nothing_more():
    at_work, most = [], []

    def work():
        at_work.append(threading.get_ident())
        most.append(len(at_work))
        try:
            yield {"kind": "begun"}
            time.sleep(0.3)  # an evaluation that nothing interrupts
            most.append(len(at_work))
            yield {"kind": "done"}
        finally:
            at_work.pop()

    async def leaves(jobs):
        frames = jobs.stream(work)
        await anext(frames)
        await frames.aclose()

    async def stays(jobs):
        return [frame async for frame in jobs.stream(work)]

    async def clients():
        jobs = Jobs()
        await leaves(jobs)
        assert jobs.running
        frames = await asyncio.wait_for(stays(jobs), 5)
        assert b"waiting" in frames[0] and b"done" in frames[-1]
        await asyncio.sleep(0.05)
        assert not jobs.running and not jobs.waiting

    asyncio.run(clients())
    assert max(most) == 1 and not at_work
