-- Journal of operations: one row per machine inside an operation. The driver is the only writer.
CREATE TABLE targets (
    operation_uid  TEXT   NOT NULL,
    machine        TEXT   NOT NULL,
    operation_name TEXT   NOT NULL,
    kind           TEXT   NOT NULL,
    version        BIGINT NOT NULL CHECK (version > 0),
    state          TEXT   NOT NULL,
    finished       BIGINT NOT NULL CHECK (finished IN (0, 1)),
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    PRIMARY KEY (operation_uid, machine)
);

CREATE TABLE target_history (
    id            BIGINT NOT NULL PRIMARY KEY,
    operation_uid TEXT   NOT NULL,
    machine       TEXT   NOT NULL,
    at            BIGINT NOT NULL,
    from_stage    TEXT   NOT NULL,
    to_stage      TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    FOREIGN KEY (operation_uid, machine) REFERENCES targets (operation_uid, machine) ON DELETE CASCADE
);
