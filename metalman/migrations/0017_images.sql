-- What an image reference meant when it was last resolved.
CREATE TABLE images (
    reference   TEXT   NOT NULL PRIMARY KEY,
    digest      TEXT   NOT NULL,
    resolved_at BIGINT NOT NULL
);
