-- Objects of the embedded Kubernetes-compatible API, the log that watches resume from, and the one
-- monotonic resource version. Only the API's single writer touches these tables.
CREATE TABLE api_objects (
    api_group        TEXT   NOT NULL,
    resource         TEXT   NOT NULL,
    namespace        TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    uid              TEXT   NOT NULL,
    resource_version BIGINT NOT NULL CHECK (resource_version > 0),
    written_at       BIGINT NOT NULL,
    body             TEXT   NOT NULL,
    PRIMARY KEY (api_group, resource, namespace, name)
);

CREATE TABLE api_changes (
    resource_version BIGINT NOT NULL PRIMARY KEY,
    change           TEXT   NOT NULL CHECK (change IN ('ADDED', 'MODIFIED', 'DELETED')),
    api_group        TEXT   NOT NULL,
    resource         TEXT   NOT NULL,
    namespace        TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    written_at       BIGINT NOT NULL,
    body             TEXT   NOT NULL
);

-- current: the newest version given out; compacted: changes up to here are gone from api_changes.
CREATE TABLE api_versions (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    current   BIGINT  NOT NULL,
    compacted BIGINT  NOT NULL
);

INSERT INTO api_versions (id, current, compacted) VALUES (1, 1, 1);
