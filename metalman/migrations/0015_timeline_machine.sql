CREATE INDEX timeline_machine ON timeline (machine, id);
