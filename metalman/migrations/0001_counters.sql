-- Row numbers are handed out under a row lock, so they become visible in the order of commits:
-- a reader that asks for "everything after N" can never miss a row. An identity column cannot
-- promise that on PostgreSQL.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL CHECK (value >= 0)
);
INSERT INTO counters (name, value) VALUES ('row', 0);
