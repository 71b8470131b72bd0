-- What the BMC of a machine was last found to be like, as JSON.
CREATE TABLE bmc_readings (
    machine TEXT   NOT NULL PRIMARY KEY,
    read_at BIGINT NOT NULL,
    body    TEXT   NOT NULL
);
