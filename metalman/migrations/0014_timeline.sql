-- What happened to a machine, for people.
CREATE TABLE timeline (
    id        BIGINT NOT NULL PRIMARY KEY,
    machine   TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    source    TEXT   NOT NULL CHECK (source IN (
        'dhcp', 'tftp', 'http', 'grub', 'installer', 'host', 'bmc', 'operation')),
    text      TEXT   NOT NULL,
    detail    TEXT   NOT NULL,
    operation TEXT
);
