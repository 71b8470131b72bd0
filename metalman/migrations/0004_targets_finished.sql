CREATE INDEX targets_finished ON targets (finished, created_at);
