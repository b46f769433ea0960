-- How many steps an attempt did again, and were compared with what an older one had recorded: under an equal numerics id
-- bit for bit (nondeterminism counts those that came out otherwise), under another one to a tolerance (drift).

ALTER TABLE attempts ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN replayed_other INTEGER NOT NULL DEFAULT 0;
