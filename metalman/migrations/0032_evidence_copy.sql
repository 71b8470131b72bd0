INSERT INTO evidence (id, machine, at, kind, detail) SELECT id, machine, at, kind, detail FROM evidence_before_0030;
