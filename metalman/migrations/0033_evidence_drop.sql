DROP TABLE evidence_before_0030;
