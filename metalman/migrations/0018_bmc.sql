-- Certificate seen first at a BMC, and passwords it has refused (never the password itself).
CREATE TABLE bmc_pins (
    address     TEXT   NOT NULL PRIMARY KEY,
    fingerprint TEXT   NOT NULL,
    pinned_at   BIGINT NOT NULL
);

CREATE TABLE bmc_credentials_refused (
    address                 TEXT   NOT NULL,
    secret_uid              TEXT   NOT NULL,
    secret_resource_version TEXT   NOT NULL,
    refused_at              BIGINT NOT NULL,
    PRIMARY KEY (address, secret_uid)
);
