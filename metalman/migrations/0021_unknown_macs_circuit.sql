-- Where an unknown network card asked: the port of the switch (option 82, circuit id).
ALTER TABLE unknown_macs ADD COLUMN circuit_id TEXT;
