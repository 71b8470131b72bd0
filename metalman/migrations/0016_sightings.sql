-- What DHCP saw: network cards nobody owns, and addresses machines really use.
CREATE TABLE unknown_macs (
    mac          TEXT   NOT NULL PRIMARY KEY,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    count        BIGINT NOT NULL CHECK (count > 0),
    arch         TEXT,
    vendor_class TEXT
);

CREATE TABLE leases_seen (
    machine      TEXT   NOT NULL,
    mac          TEXT   NOT NULL,
    ip           TEXT,
    last_seen    BIGINT NOT NULL,
    last_message TEXT   NOT NULL,
    PRIMARY KEY (machine, mac)
);
