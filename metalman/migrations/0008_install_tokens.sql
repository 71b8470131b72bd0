-- One-shot, machine-bound, expiring permission to overwrite a disk. claimed_by is a boot id.
CREATE TABLE install_tokens (
    token         TEXT   NOT NULL PRIMARY KEY,
    machine       TEXT   NOT NULL,
    operation_uid TEXT   NOT NULL,
    attempt       BIGINT NOT NULL CHECK (attempt > 0),
    image_digest  TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    claimed_by    TEXT,
    claimed_at    BIGINT,
    revoked_at    BIGINT,
    consumed_at   BIGINT,
    CHECK ((claimed_by IS NULL) = (claimed_at IS NULL)),
    CHECK (consumed_at IS NULL OR claimed_at IS NOT NULL)
);
