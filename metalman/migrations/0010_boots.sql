-- How an installed host is allowed to report, and what it reported.
CREATE TABLE boot_capabilities (
    capability    TEXT   NOT NULL PRIMARY KEY,
    machine       TEXT   NOT NULL,
    operation_uid TEXT,
    created_at    BIGINT NOT NULL,
    revoked_at    BIGINT
);

CREATE TABLE boot_reports (
    machine       TEXT   NOT NULL,
    boot_id       TEXT   NOT NULL,
    first_seen    BIGINT NOT NULL,
    last_seen     BIGINT NOT NULL,
    kernel        TEXT   NOT NULL,
    agent_version TEXT   NOT NULL,
    machine_uuid  TEXT,
    PRIMARY KEY (machine, boot_id)
);
