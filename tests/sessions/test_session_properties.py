"""Whatever happens in whatever order, a session keeps its promises and comes to its end."""

import asyncio

from fake_child import FakeChild, attach, build_session
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import virtual_time

from ws_subprocess.model import STDERR, STDOUT, ExitStatus, Grant
from ws_subprocess.sessions.attachment import Attachment, SessionLimits
from ws_subprocess.sessions.replay import Gap, Output
from ws_subprocess.sessions.session import Session

LIMITS = SessionLimits(ring_bytes=200, window_bytes=100)
STEPS = (
    "say",
    "exit",
    "end output",
    "hang up",
    "wait",
    "read",
    "acknowledge",
    "type",
    "join",
    "leave",
    "no room",
    "room",
)
SIGNALS = st.sets(st.sampled_from([1, 15]))
grants = st.builds(
    Grant,
    command=st.just("/bin/true"),
    idle_timeout_s=st.none() | st.floats(0.1, 5),
    max_lifetime_s=st.none() | st.floats(0.1, 20),
)


class Story:
    """A session and what can happen to it."""

    def __init__(self, grant: Grant, deadly: set[int], tree: set[int], unkillable: set[int]) -> None:
        self.child = FakeChild()
        self.child.deadly, self.child.tree, self.child.unkillable = deadly, tree, unkillable & tree
        self.session: Session = build_session(self.child, LIMITS, grant)
        self.cursors: list[Attachment] = []
        self.has_ended_output = False
        self.session.start()

    async def step(self, name: str, size: int) -> None:
        child, session = self.child, self.session
        match name:
            case "wait":
                await asyncio.sleep(size / 20)
            case "join":
                self.cursors.append(attach(session, has_acks=size % 2 == 0))
            case "read" | "acknowledge" | "leave" if self.cursors:
                self.use(self.cursors[size % len(self.cursors)], name, size)
            case "hang up":
                session.hang_up(("client_gone", "draining")[size % 2])
            case "type" if not child.is_closed:
                child.room = child.room and size % 7 != 0
                session.write(b"x")
            case "room" if not child.is_closed:
                child.room = True
                session.on_input_room()
            case "say" if not (child.is_closed or child.is_paused or self.has_ended_output):
                child.say(bytes(size), (STDOUT, STDERR)[size % 2])
            case "exit" if child.is_alive and not child.is_closed:
                child.exit(ExitStatus(size % 256, None))
            case "end output" if not (child.is_closed or self.has_ended_output or child.unkillable):
                self.has_ended_output = True
                child.end_output()

    def use(self, cursor: Attachment, name: str, size: int) -> None:
        if name == "acknowledge":
            cursor.acknowledge(min(cursor.offset, cursor.acknowledged + size))
        elif name == "leave":
            cursor.detach()
            self.cursors.remove(cursor)
        else:
            before = cursor.offset
            found = cursor.read(size)
            if isinstance(found, Output):
                assert found.offset == before
                assert cursor.offset == before + len(found.data)
            elif isinstance(found, Gap):
                assert self.session.reason, "only a session that is being ended loses output"

    def check(self) -> None:
        session, child = self.session, self.child
        assert session.finished.done() == child.is_closed
        assert session.ring.start <= session.ring.end
        if session.ended is not None:
            assert session.ended.bytes == session.ring.end
            assert not session.is_running


@given(
    grants,
    SIGNALS,
    st.sets(st.integers(1, 3)),
    st.sets(st.integers(1, 3)),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 90)), max_size=40),
)
@virtual_time
async def test_a_session_comes_to_its_end_whatever_happened_before(
    grant: Grant, deadly: set[int], tree: set[int], unkillable: set[int], steps: list[tuple[str, int]]
) -> None:
    story = Story(grant, deadly, tree, unkillable)

    for name, size in steps:
        await story.step(name, size)
        story.check()
    story.session.hang_up("client_gone")
    async with asyncio.timeout(30):
        await story.session.finished

    story.check()
    assert story.child.names().count("close") == 1
    assert story.child.names().count("start") == 1
    assert story.session.ended is not None or story.child.is_alive is False
