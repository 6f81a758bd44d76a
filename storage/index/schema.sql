-- The index, schema version 3. See DESIGN.md.

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
  attributes BLOB NOT NULL, -- CBOR, of patient and study
  received   INTEGER NOT NULL DEFAULT 0, -- the earliest Received
  -- How many manifests of the gateway's own there are among its instances; see
  -- life for the one that is shown.
  manifests  INTEGER NOT NULL DEFAULT 0
);
-- study_bare, too, when it is opened: see superseded.go.
CREATE INDEX study_order ON study (date DESC, uid);
CREATE INDEX study_patient ON study (patient, issuer); -- a patient is an identifier of an issuer
CREATE INDEX study_accession ON study (accession) WHERE accession <> '';

-- By which names are found, folded: component groups of PatientName, '^' and
-- the family name of each, and words, with the date of their study: so the
-- studies of one name lie in the order of answers.
CREATE TABLE name (
  folded TEXT NOT NULL,
  date   TEXT NOT NULL,
  study  INTEGER NOT NULL,
  PRIMARY KEY (folded, date DESC, study)
) WITHOUT ROWID;

-- Each family name, word and referring physician among the keys once, so that
-- they can be looked through. No id is given twice: who remembers words asks
-- for those behind the last that it has.
CREATE TABLE word (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  folded TEXT NOT NULL UNIQUE
);

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
  classes    TEXT NOT NULL DEFAULT '', -- as in study
  manifests  INTEGER NOT NULL DEFAULT 0, -- as in study
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

-- A deletion of a study, or of a series of it. It stays when all is removed:
-- what it covers may come back out of an archive that was away.
CREATE TABLE deletion (
  id       INTEGER PRIMARY KEY,
  name     TEXT NOT NULL UNIQUE,
  study    TEXT NOT NULL,
  series   TEXT NOT NULL, -- '' for the whole study
  state    INTEGER NOT NULL,
  due      INTEGER NOT NULL,
  revision INTEGER NOT NULL, -- of its last change; one count with protection
  record   BLOB NOT NULL -- CBOR, DeletionRecord
);
CREATE INDEX deletion_study ON deletion (study);
CREATE INDEX deletion_revision ON deletion (revision);
CREATE INDEX deletion_open ON deletion (state, id) WHERE state < 3;

-- What marked deletions took out of the tables of the same names, so that an
-- undo puts it back. When a deletion is decided only the packs are left.
CREATE TABLE deleted_study (
  deletion   INTEGER PRIMARY KEY,
  date       TEXT NOT NULL,
  received   INTEGER NOT NULL,
  classes    TEXT NOT NULL,
  attributes BLOB NOT NULL
);
CREATE TABLE deleted_series (
  deletion   INTEGER NOT NULL,
  uid        TEXT NOT NULL,
  modality   TEXT NOT NULL,
  instances  INTEGER NOT NULL,
  newest     INTEGER NOT NULL,
  classes    TEXT NOT NULL,
  attributes BLOB NOT NULL,
  manifests  INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (deletion, uid)
) WITHOUT ROWID;
CREATE TABLE deleted_instance (
  id         INTEGER PRIMARY KEY,
  deletion   INTEGER NOT NULL,
  series     TEXT NOT NULL,
  sop        TEXT NOT NULL,
  number     INTEGER NOT NULL,
  digest     BLOB NOT NULL,
  size       INTEGER NOT NULL,
  journal    TEXT NOT NULL,
  segment    INTEGER NOT NULL,
  pack       TEXT NOT NULL, -- the plan that holds it, or ''
  record     BLOB NOT NULL,
  attributes BLOB NOT NULL
);
CREATE INDEX deleted_instance_of ON deleted_instance (deletion, series);
CREATE INDEX deleted_instance_segment ON deleted_instance (journal, segment);
CREATE TABLE deleted_pack (
  id        INTEGER PRIMARY KEY,
  deletion  INTEGER NOT NULL,
  name      TEXT NOT NULL UNIQUE,
  series    TEXT NOT NULL,
  instances INTEGER NOT NULL,
  members   BLOB NOT NULL,
  plan      BLOB
);
CREATE INDEX deleted_pack_of ON deleted_pack (deletion);
CREATE TABLE deleted_copy (
  pack    INTEGER NOT NULL,
  archive TEXT NOT NULL,
  key     TEXT NOT NULL,
  size    INTEGER NOT NULL,
  crc32c  INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (pack, archive)
) WITHOUT ROWID;

-- What keeps studies from being deleted: holds, and for how many years; of
-- study '' for all that have no years of their own.
CREATE TABLE hold (
  study TEXT NOT NULL,
  name  TEXT NOT NULL,
  act   BLOB NOT NULL, -- CBOR, Act
  PRIMARY KEY (study, name)
) WITHOUT ROWID;
CREATE TABLE retention (
  study TEXT PRIMARY KEY,
  years INTEGER NOT NULL,
  act   BLOB NOT NULL
) WITHOUT ROWID;
-- When that last changed for a study; the row stays when nothing is left.
CREATE TABLE protection (
  study    TEXT PRIMARY KEY,
  revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX protection_revision ON protection (revision);

-- Whose a journal is, and whether it is retired.
CREATE TABLE owner (
  journal TEXT PRIMARY KEY,
  node    TEXT NOT NULL, -- '' when it was retired before it was known
  retired INTEGER NOT NULL
) WITHOUT ROWID;

-- Entries of journals that were acknowledged, and passed over because they are
-- damaged: what they hold may be read from a copy, or by a person.
CREATE TABLE unread (
  journal  TEXT NOT NULL,
  segment  INTEGER NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (journal, segment, position)
) WITHOUT ROWID;

-- Of which nodes certificates are refused that were made before a moment.
CREATE TABLE refusal (
  node   TEXT PRIMARY KEY,
  before INTEGER NOT NULL -- Unix time
) WITHOUT ROWID;

-- How far the log of a cluster is applied: one row, in a cluster only.
CREATE TABLE raft (
  id      INTEGER PRIMARY KEY CHECK (id = 1),
  cluster TEXT NOT NULL,
  applied INTEGER NOT NULL
);

-- What happened, in the order in which it was applied: the feed, of which only
-- the newest are kept.
CREATE TABLE event (
  sequence INTEGER PRIMARY KEY,
  record   BLOB NOT NULL -- CBOR, Event
);

-- What happened to a series, in a bounded number of steps. It outlives the
-- series.
CREATE TABLE history (
  study  TEXT NOT NULL,
  series TEXT NOT NULL,
  steps  BLOB NOT NULL, -- CBOR, of Step
  PRIMARY KEY (study, series)
) WITHOUT ROWID;

-- What was decided about identities, in the order of applying.
CREATE TABLE identity_change (
  id        INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  issuer    TEXT NOT NULL, -- of the local identity
  patient   TEXT NOT NULL,
  authority TEXT NOT NULL, -- of the number
  number    TEXT NOT NULL,
  open      INTEGER NOT NULL, -- 1 while a person must decide
  kept      INTEGER NOT NULL DEFAULT 0, -- 1 when it lies in an archive
  record    BLOB NOT NULL -- CBOR, IdentityChange
);
CREATE INDEX identity_change_local ON identity_change (patient, issuer);
CREATE INDEX identity_change_number ON identity_change (number, authority);
CREATE INDEX identity_change_open ON identity_change (id) WHERE open = 1;
CREATE INDEX identity_change_unkept ON identity_change (id) WHERE kept = 0;

-- The links that stand.
CREATE TABLE identity_link (
  patient   TEXT NOT NULL,
  issuer    TEXT NOT NULL,
  authority TEXT NOT NULL,
  number    TEXT NOT NULL,
  name      TEXT NOT NULL, -- of the authority
  change    INTEGER NOT NULL, -- that made it
  PRIMARY KEY (patient, issuer)
) WITHOUT ROWID;
CREATE INDEX identity_link_number ON identity_link (number, authority);
CREATE INDEX identity_link_change ON identity_link (change);

-- Where a study is in its life. The row outlives the study: no version is
-- given twice.
CREATE TABLE life (
  study    TEXT PRIMARY KEY,
  open     INTEGER NOT NULL, -- 1 while it changed since it was complete
  since    INTEGER NOT NULL, -- when it changed last; 0 for no waiting
  revision INTEGER NOT NULL, -- counts its changes
  owed     INTEGER NOT NULL, -- 1 while its manifest is not stored
  shared   INTEGER NOT NULL, -- 1 while something of it may be in the shared record
  due      INTEGER NOT NULL, -- when to see to the shared record; -1 for never, -2 when it refused
  record   BLOB NOT NULL,    -- CBOR, LifeRecord; empty for the zero one
  manifest TEXT NOT NULL DEFAULT '' -- SOPInstanceUID of its version's, the one that is shown; '' for none
) WITHOUT ROWID;
CREATE INDEX life_open ON life (since, study) WHERE open = 1;
CREATE INDEX life_owed ON life (study) WHERE owed = 1;
CREATE INDEX life_due ON life (due, study) WHERE due <> -1;

-- Who does not want to be in the shared record: a patient as a site knows
-- them, or a national number.
CREATE TABLE opposition (
  patient TEXT NOT NULL,
  issuer  TEXT NOT NULL,
  change  INTEGER NOT NULL, -- that says so
  PRIMARY KEY (patient, issuer)
) WITHOUT ROWID;

-- Requests for storage commitment, until their askers know what came of them;
-- some that have ended are remembered.
CREATE TABLE commitment (
  id     INTEGER PRIMARY KEY, -- in the order of coming
  ae     TEXT NOT NULL, -- who asks
  uid    TEXT NOT NULL, -- TransactionUID
  asked  INTEGER NOT NULL, -- how many instances
  state  INTEGER NOT NULL,
  due    INTEGER NOT NULL, -- when to tell again
  record BLOB NOT NULL, -- CBOR, CommitmentRecord
  list   BLOB NOT NULL, -- CBOR, of ClassInstances; none when it has ended
  failed BLOB NOT NULL, -- CBOR, of FailedReference
  UNIQUE (ae, uid)
);
CREATE INDEX commitment_open ON commitment (id) WHERE state < 2;
