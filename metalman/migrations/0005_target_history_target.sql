CREATE INDEX target_history_target ON target_history (operation_uid, machine, id);
