"""When each speaker was last learnt, and whose turn it is: after enough new speech, or some and long enough."""

from dataclasses import dataclass

from myna.adapt.store.database import StoreError
from myna.adapt.store.speech import Store

MOST_DOUBLINGS = 10  # of the time before a round that failed is tried again


@dataclass(frozen=True, slots=True)
class Pace:
    """How often speakers are learnt."""

    utterances: int = 10  # new or newly corrected, that make a round worth it
    every_s: float = 86_400.0  # a round for fewer, if that long ago
    retry_s: float = 300.0  # after a failure; doubled by each further one


class Rounds:
    """The history of rounds in a store. What ended counts as done; what did not, or with an error, as failed."""

    def __init__(self, store: Store, pace: Pace | None = None) -> None:
        self._store, self._database, self._pace = store, store.database, pace or Pace()

    def begin(self, speaker: str) -> int:
        """Note that a round begins; return its number. Raises StoreError where nothing is known of the speaker."""
        with self._database.writing() as connection:
            done = connection.execute(
                "INSERT INTO rounds (speaker, began_s) SELECT id, ? FROM speakers WHERE name = ?",
                (self._store.now_s(), speaker),
            )
            if not done.rowcount or done.lastrowid is None:
                raise StoreError("nothing is kept of this speaker; `myna speaker list` says of whom")
            return done.lastrowid

    def end(self, number: int, error: str | None = None) -> None:
        """Note that it ended, and if it failed why."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE rounds SET ended_s = ?, error = ? WHERE id = ?", (self._store.now_s(), error, number)
            )

    def due(self) -> list[str]:
        """Name the speakers whose turn it is, the longest waiting first."""
        query = """
            SELECT s.name, s.created_s, MIN(u.changed_s) AS since_s, COUNT(u.id) AS new, d.done_s,
                (SELECT COUNT(*) FROM rounds f WHERE f.speaker = s.id AND f.began_s > COALESCE(d.done_s, 0)) AS failed,
                (SELECT MAX(f.began_s) FROM rounds f WHERE f.speaker = s.id) AS tried_s
            FROM speakers s
            LEFT JOIN (
                SELECT speaker, MAX(began_s) AS done_s FROM rounds
                WHERE ended_s IS NOT NULL AND error IS NULL GROUP BY speaker
            ) d ON d.speaker = s.id
            JOIN utterances u ON u.speaker = s.id AND u.changed_s > COALESCE(d.done_s, 0)
            GROUP BY s.id ORDER BY since_s
        """
        pace, now_s = self._pace, self._store.now_s()
        names = list[str]()
        for row in self._database.rows(query):
            enough = row["new"] >= pace.utterances or now_s - (row["done_s"] or row["created_s"]) >= pace.every_s
            wait_s = pace.retry_s * 2 ** min(MOST_DOUBLINGS, row["failed"] - 1) if row["failed"] else 0.0
            if enough and now_s >= (row["tried_s"] or 0.0) + wait_s:
                names.append(str(row["name"]))
        return names
