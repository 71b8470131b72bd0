-- A CHECK cannot be widened in place on both databases: the table is made anew.
ALTER TABLE evidence RENAME TO evidence_before_0030;
