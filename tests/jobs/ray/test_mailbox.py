"""The mailbox's own rules; what workers send through it is tested with the executor."""

import asyncio

from jobs.ray.mailbox import Mailbox
from jobs.spec import JobResult


def test_who_waits_for_an_outcome_gets_it_when_it_comes_and_what_came_before_with_it() -> None:
    async def scene() -> None:
        mailbox = Mailbox()
        waiting = asyncio.create_task(mailbox.drain(3600.0))
        await asyncio.sleep(0)
        mailbox.move("a", {"loss": 2.0})
        await asyncio.sleep(0)
        assert not waiting.done()
        mailbox.finish(("b", JobResult(), 1.0))
        outcomes, progress, notes = await asyncio.wait_for(waiting, 60.0)
        assert [name for name, _, _ in outcomes] == ["b"]
        assert progress == {"a": {"loss": 2.0}} and notes == []
        assert await mailbox.drain(0.0) == ([], {}, [])

    asyncio.run(scene())


def test_without_an_outcome_progress_comes_after_the_wait_and_an_outcome_between_two_drains_is_not_lost() -> None:
    async def scene() -> None:
        mailbox = Mailbox()
        mailbox.move("a", {"loss": 3.0})
        mailbox.move("a", {"loss": 2.0})
        assert await mailbox.drain(0.01) == ([], {"a": {"loss": 2.0}}, [])
        mailbox.move("a", {"loss": 1.0})
        mailbox.finish(("a", JobResult(), 1.0))
        outcomes, progress, _ = await asyncio.wait_for(mailbox.drain(3600.0), 60.0)
        assert [name for name, _, _ in outcomes] == ["a"] and progress == {}

    asyncio.run(scene())
