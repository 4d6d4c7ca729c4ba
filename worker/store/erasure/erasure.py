"""What an erasure of a record needs of the store: what still works it, and every place that may name it."""

from collections.abc import Collection
from itertools import chain

from worker.contract import Relation
from worker.errors import StoreUnavailable, Unavailable
from worker.ports.erasure import ErasedPiece, RecordRef, UnsettledRequests
from worker.ports.work import Lease
from worker.redis.client import is_refusal, translate_errors
from worker.store import codec
from worker.store.acts import Acts
from worker.store.erasure.job_erasure import erase_jobs
from worker.store.erasure.record_eraser import RecordEraser
from worker.store.erasure.record_text import RecordText
from worker.store.lease.lease import RedisLease


class RedisErasure(Acts):
    """Implements `ports.Erasure`."""

    def unsettled_requests(self, account: str) -> UnsettledRequests:
        """Return the requests that were begun and not settled, oldest first.

        Raises Unavailable for an account whose worker died with claimed changes: a flush goes on with them.
        """
        reads = self.database.reads(account)
        reads.hgetall("journal")
        reads.exists("claimed")
        journal, claimed_ids = reads.run()
        if claimed_ids:
            raise Unavailable(
                f"a worker died with claimed changes of account {account}; the next flush goes on with them: "
                "if it is paused, resume it, and try again",
                retry_after=5.0,
            )
        return UnsettledRequests(self.database.now(), codec.begun(journal))

    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """Return the open relations whose work names a record."""
        text, named = RecordText(who), list[Relation]()
        pages = self.database.scan_hash(account, "open")
        for name, work in chain.from_iterable(page.items() for page in pages):
            relation = Relation.parse(name.decode())
            if who.is_part_of(relation) or text.is_in_open(codec.read_open(work)):
                named.append(relation)
        return sorted(set(named))

    def erase_jobs(
        self, lease: Lease, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Erase a record from the next jobs, but not from those that are waiting."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        leased = lease.leased
        replays = {} if after else RecordEraser(leased, who).erase_replays()
        piece = self._repeat(lease.account, lambda: erase_jobs(leased, who, after, waiting=waiting))
        return piece._replace(counts={**piece.counts, **replays})

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> ErasedPiece:
        """Erase a record from a part of everything else that is kept."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        lease.renew()  # raises if it was lost
        return RecordEraser(lease.leased, who).erase_next(cursor)

    def rewrite_append_only_file(self) -> str:
        """Let the server rewrite its append-only file, which holds what was erased until then."""
        redis = self.database.redis
        of_nodes = {"target_nodes": "primaries"} if hasattr(redis, "get_node_from_key") else {}
        try:
            with translate_errors():
                redis.bgrewriteaof(**of_nodes)
        except StoreUnavailable as error:
            if not is_refusal(error):
                raise
            if "in progress" in str(error):
                return "is being rewritten already; ask again when that is done, it may have begun before"
            return (
                f"was not rewritten, the server forbids it ({error}): what was erased stays there until "
                "the server rewrites it by itself (auto-aof-rewrite-percentage), or whoever runs it calls "
                "BGREWRITEAOF"
            )
        return "is being rewritten in the background; each replica rewrites its own"
