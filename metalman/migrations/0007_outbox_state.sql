CREATE INDEX outbox_state ON outbox (state, id);
