CREATE INDEX install_tokens_operation ON install_tokens (operation_uid, machine);
