CREATE INDEX evidence_machine_kind ON evidence (machine, kind, id);
