-- Last known view of the Kubernetes objects of this site; the API server stays their owner.
CREATE TABLE site_objects (
    kind             TEXT   NOT NULL,
    namespace        TEXT   NOT NULL DEFAULT '',
    name             TEXT   NOT NULL,
    uid              TEXT   NOT NULL,
    resource_version TEXT   NOT NULL,
    body             TEXT   NOT NULL,
    updated_at       BIGINT NOT NULL,
    PRIMARY KEY (kind, namespace, name)
);
