-- The index, schema version 1. It is complete with schema2.sql. See DESIGN.md.

CREATE TABLE journal (
  name     TEXT PRIMARY KEY,
  segment  INTEGER NOT NULL,
  position INTEGER NOT NULL
) WITHOUT ROWID;

-- A study with its patient. Counts are of what is not kept aside.
CREATE TABLE study (
  id         INTEGER PRIMARY KEY,
  uid        TEXT NOT NULL UNIQUE,
  date       TEXT NOT NULL, -- YYYYMMDD, '' for none
  patient    TEXT NOT NULL, -- PatientID without spaces around it
  issuer     TEXT NOT NULL,
  accession  TEXT NOT NULL,
  modalities TEXT NOT NULL, -- sorted, parted by backslashes
  classes    TEXT NOT NULL, -- likewise, SOPClassesInStudy
  series     INTEGER NOT NULL,
  instances  INTEGER NOT NULL,
  attributes BLOB NOT NULL  -- CBOR, of patient and study
);
CREATE INDEX study_order ON study (date DESC, uid);
CREATE INDEX study_patient ON study (patient);
CREATE INDEX study_accession ON study (accession) WHERE accession <> '';

-- Folded component groups of PatientName, and each word in them.
CREATE TABLE name (
  folded TEXT NOT NULL,
  study  INTEGER NOT NULL,
  PRIMARY KEY (folded, study)
) WITHOUT ROWID;

CREATE TABLE modality (
  value TEXT NOT NULL,
  date  TEXT NOT NULL, -- the study's
  study INTEGER NOT NULL,
  PRIMARY KEY (value, date DESC, study)
) WITHOUT ROWID;

CREATE TABLE series (
  id         INTEGER PRIMARY KEY,
  study      INTEGER NOT NULL,
  uid        TEXT NOT NULL,
  modality   TEXT NOT NULL,
  instances  INTEGER NOT NULL,
  unplanned  INTEGER NOT NULL, -- live instances in no plan, and their bytes
  bytes      INTEGER NOT NULL,
  newest     INTEGER NOT NULL, -- the latest Received
  attributes BLOB NOT NULL,
  UNIQUE (study, uid)
);
CREATE INDEX series_uid ON series (uid);
CREATE INDEX series_work ON series (newest) WHERE unplanned > 0;

-- An instance while it lies in a journal.
CREATE TABLE instance (
  id         INTEGER PRIMARY KEY,
  sop        TEXT NOT NULL UNIQUE,
  series     INTEGER NOT NULL,
  number     INTEGER NOT NULL,
  digest     BLOB NOT NULL,
  size       INTEGER NOT NULL,
  journal    TEXT NOT NULL,
  segment    INTEGER NOT NULL,
  pack       INTEGER, -- the plan that holds it
  record     BLOB NOT NULL, -- CBOR, storage.Instance and Position
  attributes BLOB NOT NULL  -- CBOR, of the instance
);
CREATE INDEX instance_series ON instance (series, number, sop);
CREATE INDEX instance_segment ON instance (journal, segment);
CREATE INDEX instance_pack ON instance (pack) WHERE pack IS NOT NULL;

-- An instance that is kept aside. It keeps its row when it is archived, so
-- that a person finds it.
CREATE TABLE conflict (
  id         INTEGER PRIMARY KEY,
  sop        TEXT NOT NULL,
  study      TEXT NOT NULL,
  series     TEXT NOT NULL,
  number     INTEGER NOT NULL,
  digest     BLOB NOT NULL,
  why        INTEGER NOT NULL,
  size       INTEGER NOT NULL,
  received   INTEGER NOT NULL,
  journal    TEXT NOT NULL,
  segment    INTEGER NOT NULL,
  pack       INTEGER, -- the plan or pack that holds it
  live       INTEGER NOT NULL, -- 1 while it lies in a journal
  record     BLOB NOT NULL,
  attributes BLOB NOT NULL, -- of all levels
  UNIQUE (sop, digest)
);
CREATE INDEX conflict_series ON conflict (study, series, number, sop);
CREATE INDEX conflict_live ON conflict (journal, segment) WHERE live = 1;
CREATE INDEX conflict_pack ON conflict (pack) WHERE pack IS NOT NULL;

-- A pack: planned while plan is set, archived afterwards.
CREATE TABLE pack (
  id        INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  study     TEXT NOT NULL,
  series    TEXT NOT NULL,
  conflict  INTEGER NOT NULL,
  instances INTEGER NOT NULL,
  members   BLOB NOT NULL, -- see Members
  plan      BLOB           -- CBOR
);
CREATE INDEX pack_series ON pack (study, series);
CREATE INDEX pack_planned ON pack (id) WHERE plan IS NOT NULL;

CREATE TABLE copy (
  pack    INTEGER NOT NULL,
  archive TEXT NOT NULL,
  key     TEXT NOT NULL,
  size    INTEGER NOT NULL,
  crc32c  INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (pack, archive)
) WITHOUT ROWID;
