-- What DHCP needs of each Machine of the site, in few bytes: a start answers from these before it
-- has read the objects. Written together with the row of site_objects; empty for a Machine that
-- does not boot from the network.
CREATE TABLE site_boot (
    name    TEXT   NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    record  TEXT   NOT NULL
);
