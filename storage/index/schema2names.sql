-- What schema version 2 has in the place of the names of version 1: by which
-- names are found, folded. Component groups of PatientName, '^' and the family
-- name of each, and words, with the date of their study: so the studies of one
-- name lie in the order of answers.
CREATE TABLE IF NOT EXISTS name2 (
  folded TEXT NOT NULL,
  date   TEXT NOT NULL,
  study  INTEGER NOT NULL,
  PRIMARY KEY (folded, date DESC, study)
) WITHOUT ROWID;
