-- As 0012, with LoaderRefused: a boot loader that was fetched and never ran.
CREATE TABLE evidence (
    id      BIGINT NOT NULL PRIMARY KEY,
    machine TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    kind    TEXT   NOT NULL CHECK (kind IN (
        'DhcpDiscover', 'DhcpAck', 'BootFileServed', 'LoaderRefused', 'GrubDecision', 'InstallClaimed',
        'InstallProgress', 'ImageWritten', 'InstallFailed', 'FirstBoot', 'CloudInit', 'PowerState')),
    detail  TEXT   NOT NULL
);
