-- Actions written in the transaction that decided them, run after it. seq counts the actions of
-- one target and never repeats, so a late executor can be told from the current one.
CREATE TABLE outbox (
    id            BIGINT NOT NULL PRIMARY KEY,
    operation_uid TEXT   NOT NULL,
    machine       TEXT   NOT NULL,
    seq           BIGINT NOT NULL CHECK (seq > 0),
    action        TEXT   NOT NULL,
    state         TEXT   NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    starts        BIGINT NOT NULL CHECK (starts >= 0),
    result        TEXT,
    created_at    BIGINT NOT NULL,
    started_at    BIGINT,
    finished_at   BIGINT,
    CHECK ((state IN ('done', 'failed')) = (finished_at IS NOT NULL)),
    CHECK (state <> 'running' OR started_at IS NOT NULL),
    UNIQUE (operation_uid, machine, seq),
    FOREIGN KEY (operation_uid, machine) REFERENCES targets (operation_uid, machine) ON DELETE CASCADE
);
