-- What schema version 2 adds when all names are keyed: each family name, word
-- and referring physician among the keys once, so that they can be looked
-- through. No id is given twice: who remembers words asks for those behind the
-- last that it has.
CREATE TABLE word (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  folded TEXT NOT NULL UNIQUE
);
INSERT INTO word (folded) SELECT DISTINCT folded FROM name
  WHERE instr(substr(CAST(folded AS BLOB), 2), x'5E') = 0 OR folded >= '=' AND folded < '>' ORDER BY folded;
