-- Bearer tokens of the embedded API besides the administrator's. Only hashes are kept.
CREATE TABLE api_tokens (
    hash          TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    role          TEXT   NOT NULL CHECK (role IN ('admin', 'operator', 'viewer', 'agent')),
    machine_uid   TEXT,
    operation_uid TEXT,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    revoked_at    BIGINT
);

CREATE INDEX api_tokens_name ON api_tokens (name);

-- Raised with every change of api_tokens, so that a running server notices.
INSERT INTO counters (name, value) VALUES ('api_tokens', 0);
