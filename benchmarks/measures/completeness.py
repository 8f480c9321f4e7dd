"""Completeness: how often all of the output arrives when the child exits at once after writing it."""

from collections.abc import Sequence

from benchmarks.client import BULK_BUFFER_BYTES
from benchmarks.figures import Samples, Scale
from benchmarks.programs import CHILD
from benchmarks.servers import Server, System, running

OUTPUT_BYTES = 100_000


def measure(systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    """Record `complete`."""
    with running(systems, [CHILD, "write", str(OUTPUT_BYTES)]) as servers:
        for _ in range(scale.rounds):
            for server in servers:
                complete = sum(_is_complete(server) for _ in range(scale.exits))
                samples.add("complete", server.system.name, 100 * complete / scale.exits)


def _is_complete(server: Server) -> bool:
    with server.connect(BULK_BUFFER_BYTES) as session:
        return session.read_to_end() == OUTPUT_BYTES
