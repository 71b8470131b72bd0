-- Facts that prove progress. A few per machine and kind are kept; the timeline is for people.
CREATE TABLE evidence (
    id      BIGINT NOT NULL PRIMARY KEY,
    machine TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    kind    TEXT   NOT NULL CHECK (kind IN (
        'DhcpDiscover', 'DhcpAck', 'BootFileServed', 'GrubDecision', 'InstallClaimed',
        'InstallProgress', 'ImageWritten', 'InstallFailed', 'FirstBoot', 'CloudInit', 'PowerState')),
    detail  TEXT   NOT NULL
);
