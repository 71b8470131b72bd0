-- Where an unknown network card asked: the address of its relay.
ALTER TABLE unknown_macs ADD COLUMN relay TEXT;
