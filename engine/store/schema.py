"""The tables, as ordered migrations: a database of any earlier version opens and is brought up."""

from __future__ import annotations

import json
import uuid

from sqlite_utils import Database, Migrations

from engine.errors import CrumpleError
from engine.specs.choices import Step, StepWords, in_words
from engine.store import environments, seals
from engine.store.distances import measure_distance
from engine.store.telemetry import repacked

migrations = Migrations("crumple")


@migrations(name="0001_first_tables")
def _first_tables(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE studies (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,        -- content key of the study file
            name TEXT NOT NULL,
            spec TEXT NOT NULL,              -- the study file as JSON
            created TEXT NOT NULL            -- UTC, ISO 8601; renewed when it is queued again
        );
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,        -- content key: data, variant, attack, seed, code
            variant_key TEXT NOT NULL,
            data_key TEXT NOT NULL,
            spec TEXT NOT NULL,              -- specs.Run as JSON
            position INTEGER NOT NULL,
            status TEXT NOT NULL DEFAULT 'waiting'
                CHECK (status IN ('waiting', 'running', 'finished', 'failed', 'cancelled')),
            attempts INTEGER NOT NULL DEFAULT 0,
            created TEXT NOT NULL, started TEXT, finished TEXT,
            message TEXT, hint TEXT, traceback TEXT,
            total INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0,
            dataset TEXT NOT NULL, model TEXT NOT NULL, compression TEXT NOT NULL,
            attack TEXT NOT NULL, eps REAL, norm TEXT NOT NULL,
            n INTEGER, compression_rate REAL, parameters INTEGER, nonzero_parameters INTEGER,
            size_bytes INTEGER, dense_bytes INTEGER, file_bytes INTEGER,
            achieved_sparsity REAL, weight_bits REAL,
            clean_accuracy REAL, robust_accuracy REAL, ci_low REAL, ci_high REAL,
            transfer_accuracy REAL, transfer_n INTEGER,
            avg_perturbation_l2 REAL, avg_perturbation_linf REAL,
            queries_per_sample REAL, seconds REAL,
            flags TEXT NOT NULL DEFAULT '[]',
            environment TEXT NOT NULL DEFAULT '{}'  -- versions, device, precision, fingerprints
        );
        CREATE INDEX runs_by_status ON runs (status, position);
        CREATE TABLE study_runs (
            study_id INTEGER NOT NULL REFERENCES studies (id) ON DELETE CASCADE,
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            PRIMARY KEY (study_id, run_id)
        );
        CREATE INDEX study_runs_by_run ON study_runs (run_id);
        CREATE TABLE stages (
            key TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            payload TEXT NOT NULL,
            seconds REAL NOT NULL,
            created TEXT NOT NULL
        );
        CREATE TABLE batches (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            start INTEGER NOT NULL,
            size INTEGER NOT NULL,
            seconds REAL NOT NULL,
            telemetry TEXT NOT NULL,         -- attacks.StepPoint per step, as JSON
            notes TEXT NOT NULL,
            PRIMARY KEY (run_id, start)
        );
        CREATE TABLE samples (
            run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            place INTEGER NOT NULL,          -- position within the run
            "index" INTEGER NOT NULL,        -- position within the full test set
            label INTEGER NOT NULL,
            clean_prediction INTEGER NOT NULL, adversarial_prediction INTEGER NOT NULL,
            clean_confidence REAL NOT NULL, adversarial_confidence REAL NOT NULL,
            broken INTEGER NOT NULL, l2 REAL NOT NULL, linf REAL NOT NULL,
            forwards INTEGER NOT NULL, backwards INTEGER NOT NULL,
            broken_at_step INTEGER NOT NULL,
            PRIMARY KEY (run_id, place)
        ) WITHOUT ROWID;
        CREATE TABLE annotations (
            run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            tags TEXT NOT NULL DEFAULT '',
            note TEXT NOT NULL DEFAULT '',
            deleted INTEGER NOT NULL DEFAULT 0
        );
        """
    )


@migrations(name="0002_black_box_check")
def _black_box_check(db: Database) -> None:
    db.execute("ALTER TABLE runs ADD COLUMN black_box_accuracy REAL")
    db.execute("ALTER TABLE runs ADD COLUMN black_box_n INTEGER")


@migrations(name="0003_transfers")
def _transfers(db: Database) -> None:
    db.execute(
        """
        CREATE TABLE transfers (
            source_run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            target_run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            key TEXT NOT NULL,               -- content key: source run, target variant, code
            status TEXT NOT NULL DEFAULT 'waiting'
                CHECK (status IN ('waiting', 'running', 'finished', 'failed', 'cancelled')),
            attempts INTEGER NOT NULL DEFAULT 0,
            message TEXT,
            kept INTEGER, broken INTEGER,    -- kept examples; those that fool the target
            n INTEGER, fooled INTEGER,       -- images that the rate is over; those fooled
            seconds REAL, finished TEXT,
            PRIMARY KEY (source_run, target_run)
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX transfers_by_target ON transfers (target_run)")
    db.execute("CREATE INDEX transfers_by_status ON transfers (status)")


@migrations(name="0004_verdicts")
def _verdicts(db: Database) -> None:
    # What the rivals of a run say about it, and which checks were made of it, as JSON.
    db.execute("ALTER TABLE runs ADD COLUMN verdict TEXT")
    db.execute("ALTER TABLE runs ADD COLUMN checks TEXT")
    # Which of the kept examples fool the target: a bit each.
    db.execute("ALTER TABLE transfers ADD COLUMN wrong BLOB")
    db.execute("CREATE INDEX runs_by_variant ON runs (variant_key)")


@migrations(name="0005_distances")
def _distances(db: Database) -> None:
    # What an attack without eps is measured by; of runs from before, taken from their images.
    db.execute("ALTER TABLE runs ADD COLUMN median_distance REAL")
    rows = db.query("SELECT id FROM runs WHERE status = 'finished' AND eps IS NULL")
    for run_id in [row["id"] for row in rows]:
        measure_distance(db, run_id)


@migrations(name="0006_parts_of_labels")
def _parts_of_labels(db: Database) -> None:
    # What labels are made from, so that nobody takes them apart; of runs from before from
    # their specs. And of failures why, and in which stage, beside the whole message.
    for column in ("attack_id", "recipe", "reason", "stage"):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} TEXT")
    for row in list(db.query("SELECT id, spec FROM runs")):
        spec = json.loads(row["spec"])
        recipe = [words for step in spec["recipe"] for words in _words(step)]
        db.execute(
            "UPDATE runs SET attack_id = ?, recipe = ? WHERE id = ?",
            (spec["attack"]["name"], json.dumps(recipe), row["id"]),
        )


def _words(step: dict[str, object]) -> list[StepWords]:
    """A step in words; one that the catalogue knows no more is called by its id."""
    try:
        return in_words((Step.model_validate(step),))
    except (CrumpleError, ValueError):
        name = str(step["name"])
        return [StepWords(name=name, label=name, brief=name)]


@migrations(name="0007_files")
def _files(db: Database) -> None:
    db.execute("CREATE TABLE identity (id TEXT NOT NULL)")  # one row: which database this is
    db.execute("INSERT INTO identity VALUES (?)", (uuid.uuid4().hex,))
    # What lies in the folder of artifacts; files of before have no row here.
    db.execute("CREATE TABLE files (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID")


@migrations(name="0008_queue_order")
def _queue_order(db: Database) -> None:
    db.execute("CREATE INDEX runs_by_position ON runs (position)")


@migrations(name="0009_changes")
def _changes(db: Database) -> None:
    # Which runs changed, and in which order: who shows many of them reads only what is new.
    # A number is never given twice, also not after the row that had it was replaced.
    db.execute(
        "CREATE TABLE changes (at INTEGER PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL)"
    )
    db.execute("CREATE INDEX changes_by_run ON changes (run_id)")
    for table, column in (("runs", "id"), ("annotations", "run_id"), ("study_runs", "run_id")):
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            db.execute(
                f"CREATE TRIGGER {table}_{event.lower()}_changes AFTER {event} ON {table} BEGIN "
                f"DELETE FROM changes WHERE run_id = {row}.{column}; "
                f"INSERT INTO changes (run_id) VALUES ({row}.{column}); END"
            )
    db.execute(
        "CREATE TRIGGER studies_update_changes AFTER UPDATE ON studies BEGIN "
        "DELETE FROM changes WHERE run_id IN "
        "(SELECT run_id FROM study_runs WHERE study_id = NEW.id); "
        "INSERT INTO changes (run_id) "
        "SELECT run_id FROM study_runs WHERE study_id = NEW.id; END"
    )


@migrations(name="0010_compact")
def _compact(db: Database) -> None:
    # Of 15 KB a run, 12 were names of figures in telemetry and 0.7 an environment that other
    # runs have, too. What is damaged stays as it is, and is told when it is read.
    db.conn.create_function("crumple_repacked", 1, repacked, deterministic=True)
    db.conn.create_function("crumple_digest", 1, environments.digest, deterministic=True)
    db.execute("ALTER TABLE batches RENAME TO former_batches")
    db.execute(_BATCHES)
    db.execute(
        "INSERT INTO batches SELECT run_id, start, size, seconds, "
        "crumple_repacked(CAST(telemetry AS BLOB)), notes FROM former_batches "
        "ORDER BY run_id, start"
    )
    db.execute("DROP TABLE former_batches")
    db.execute(environments.CREATE)
    db.execute(
        "INSERT INTO environments (digest, content) "
        "SELECT crumple_digest(CAST(environment AS BLOB)), environment FROM runs "
        "WHERE environment != '{}' ORDER BY id ON CONFLICT DO NOTHING"
    )
    # Seed and steps are read with every list of runs.
    for column in (
        "environment_id INTEGER REFERENCES environments (id) ON DELETE SET NULL",
        "seed INTEGER",
        "steps",  # as the spec has it
    ):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column}")
    valid = "CASE WHEN json_valid(spec) THEN json_extract(spec, '{}') END"
    db.execute(
        "UPDATE runs SET environment_id = (SELECT environments.id FROM environments "
        "WHERE digest = crumple_digest(CAST(environment AS BLOB))), "
        f"seed = {valid.format('$.seed')}, steps = {valid.format('$.attack.params.steps')}"
    )
    db.execute("ALTER TABLE runs DROP COLUMN environment")


@migrations(name="0011_seals")
def _seals(db: Database) -> None:
    # What is there is taken for what was written; verdicts on images of before have no seal,
    # since to read them all takes minutes.
    seals.prepare(db.conn)
    for table in ("runs", "batches", "stages", "transfers"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN seal INTEGER")
    seals.seal_rows(db, "runs", "status = 'finished'")
    seals.seal_rows(db, "stages", "TRUE")
    seals.seal_rows(db, "transfers", "status = 'finished'")
    for trigger in seals.TRIGGERS:
        db.execute(trigger)


@migrations(name="0012_settlers")
def _settlers(db: Database) -> None:
    # Of a worst case who broke an image; of other runs empty.
    db.execute("ALTER TABLE samples ADD COLUMN settled_by TEXT NOT NULL DEFAULT ''")


_BATCHES = """
    CREATE TABLE batches (
        run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        start INTEGER NOT NULL,
        size INTEGER NOT NULL,
        seconds REAL NOT NULL,
        telemetry BLOB NOT NULL,         -- attacks.StepPoint per step (``store.telemetry``)
        notes TEXT NOT NULL,
        PRIMARY KEY (run_id, start)
    )
"""
