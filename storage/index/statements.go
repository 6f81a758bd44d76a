package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// statements are those of applying, prepared once.
type statements struct {
	watermark, setWatermark *sql.Stmt
	passLog                 *sql.Stmt

	maxStudy, study, putStudy    *sql.Stmt
	maxSeries, series, putSeries *sql.Stmt
	putName, dropName            *sql.Stmt
	putWord, dropWord            *sql.Stmt
	putModality, dropModality    *sql.Stmt

	putInstance, instance, dropInstance *sql.Stmt
	planInstance, dropPlanned           *sql.Stmt

	emptyConflict, hasConflict     *sql.Stmt
	putConflict, conflict          *sql.Stmt
	planConflict, archiveConflicts *sql.Stmt
	moveConflict                   *sql.Stmt

	members, putPack, pack, archivePack *sql.Stmt
	putCopy, hasCopy, packInstances     *sql.Stmt
	deletedPack                         *sql.Stmt

	lastEvent, putEvent, dropEvents          *sql.Stmt
	history, putHistory                      *sql.Stmt
	hasIdentity, lastOfIdentity, putIdentity *sql.Stmt
	nextIdentity                             *sql.Stmt
	settleIdentity, keepIdentity             *sql.Stmt
	putLink, dropLink                        *sql.Stmt
	reopen, reopenPatient, complete, made    *sql.Stmt
	dueOfPatient, putPublication             *sql.Stmt
	askPublication, oppose, unoppose         *sql.Stmt

	openCommitments, putCommitment, setCommitment *sql.Stmt
	settleCommitment, emptyCommitment             *sql.Stmt
	dropCommitment, forgetCommitments             *sql.Stmt

	owner, putOwner, retireOthers    *sql.Stmt
	anyLeaving                       *sql.Stmt
	leavingInstance, leavingConflict *sql.Stmt
	moveInstance, moveConflictRow    *sql.Stmt

	all []*sql.Stmt
}

// prepared is a statement and its text.
type prepared struct {
	to  **sql.Stmt
	sql string
}

func (s *statements) ofJournals() []prepared {
	return []prepared{
		{&s.owner, `SELECT retired FROM owner WHERE journal = ?`},
		{&s.putOwner, `INSERT INTO owner VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE
			SET node = CASE ?2 WHEN '' THEN node ELSE ?2 END, retired = max(retired, ?3)`},
		{&s.retireOthers, `UPDATE owner SET retired = 1 WHERE node = ? AND journal <> ?`},
		{&s.anyLeaving, `SELECT EXISTS (SELECT 1 FROM owner o WHERE o.retired = 1 AND (
			EXISTS (SELECT 1 FROM instance i WHERE i.journal = o.journal) OR
			EXISTS (SELECT 1 FROM conflict c WHERE c.journal = o.journal AND c.live = 1)))`},
		{&s.leavingInstance, `SELECT i.id, i.record FROM instance i JOIN owner o ON o.journal = i.journal
			WHERE i.sop = ? AND i.digest = ? AND o.retired = 1`},
		{&s.leavingConflict, `SELECT c.id, c.record FROM conflict c JOIN owner o ON o.journal = c.journal
			WHERE c.sop = ? AND c.digest = ? AND c.live = 1 AND o.retired = 1`},
		{&s.moveInstance, `UPDATE instance SET journal = ?, segment = ?, record = ? WHERE id = ?`},
		{&s.moveConflictRow, `UPDATE conflict SET journal = ?, segment = ?, record = ? WHERE id = ?`},
	}
}

func (s *statements) ofIdentities() []prepared {
	return []prepared{
		{&s.hasIdentity, `SELECT EXISTS (SELECT 1 FROM identity_change WHERE name = ?)`},
		{&s.lastOfIdentity, lastOfIdentity},
		{&s.nextIdentity, `SELECT max(coalesce((SELECT max(id) FROM identity_change), 0) + 1, ?)`},
		{&s.putIdentity, `INSERT INTO identity_change (id, name, issuer, patient, authority, number, open, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`},
		{&s.settleIdentity, `UPDATE identity_change SET open = 0 WHERE name = ?`},
		{&s.keepIdentity, `UPDATE identity_change SET kept = 1 WHERE name = ?`},
		{&s.putLink, `INSERT INTO identity_link VALUES (?1, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT DO UPDATE SET authority = ?3, number = ?4, name = ?5, change = ?6`},
		{&s.dropLink, `DELETE FROM identity_link WHERE patient = ? AND issuer = ?`},
	}
}

func prepare(ctx context.Context, c *sql.Conn) (*statements, error) {
	s := &statements{}
	for _, p := range slices.Concat(s.ofJournals(), s.ofEvents(), s.ofIdentities(), s.ofLives(), s.ofCommitments(), []prepared{
		{&s.watermark, `SELECT segment, position FROM journal WHERE name = ?`},
		{&s.setWatermark, `INSERT INTO journal VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET segment = ?2, position = ?3`},
		{&s.passLog, `UPDATE raft SET applied = ?`},

		{&s.maxStudy, `SELECT coalesce(max(id), 0) FROM study`},
		{&s.study, `SELECT id, date, patient, issuer, modalities, classes, series, instances, attributes, received, manifests FROM study WHERE uid = ?`},
		{&s.putStudy, `INSERT INTO study (id, uid, date, patient, issuer, accession, modalities, classes, series, instances, attributes, received, manifests)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
			ON CONFLICT (id) DO UPDATE SET date = ?3, patient = ?4, issuer = ?5, accession = ?6,
			modalities = ?7, classes = ?8, series = ?9, instances = ?10, attributes = ?11, received = ?12, manifests = ?13`},
		{&s.maxSeries, `SELECT coalesce(max(id), 0) FROM series`},
		{&s.series, `SELECT id, modality, instances, unplanned, bytes, newest, attributes, classes, manifests FROM series WHERE study = ? AND uid = ?`},
		{&s.putSeries, `INSERT INTO series (id, study, uid, modality, instances, unplanned, bytes, newest, attributes, classes, manifests)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
			ON CONFLICT (id) DO UPDATE SET modality = ?4, instances = ?5, unplanned = ?6, bytes = ?7, newest = ?8, attributes = ?9, classes = ?10, manifests = ?11`},
		{&s.putName, `INSERT INTO name VALUES (?, ?, ?) ON CONFLICT DO NOTHING`},
		{&s.dropName, `DELETE FROM name WHERE folded = ? AND date = ? AND study = ?`},
		{&s.putWord, `INSERT INTO word (folded) VALUES (?) ON CONFLICT DO NOTHING`},
		{&s.dropWord, `DELETE FROM word WHERE folded = ?1 AND NOT EXISTS (SELECT 1 FROM name WHERE folded = ?1)`},
		{&s.putModality, `INSERT INTO modality VALUES (?, ?, ?) ON CONFLICT DO NOTHING`},
		{&s.dropModality, `DELETE FROM modality WHERE value = ? AND date = ? AND study = ?`},

		{&s.putInstance, `INSERT INTO instance (sop, series, number, digest, size, journal, segment, record, attributes)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sop) DO NOTHING`},
		{&s.instance, `SELECT i.id, i.digest, i.series, i.size, coalesce(p.name, ''), e.uid, s.uid, i.record, i.attributes
			FROM instance i LEFT JOIN series e ON e.id = i.series LEFT JOIN study s ON s.id = e.study
			LEFT JOIN pack p ON p.id = i.pack WHERE i.sop = ?`},
		{&s.dropInstance, `DELETE FROM instance WHERE id = ?`},
		{&s.planInstance, `UPDATE instance SET pack = ? WHERE sop = ?`},
		{&s.dropPlanned, `DELETE FROM instance WHERE pack = ?`},

		{&s.emptyConflict, `SELECT NOT EXISTS (SELECT 1 FROM conflict)`},
		{&s.hasConflict, `SELECT EXISTS (SELECT 1 FROM conflict WHERE sop = ? AND digest = ?)`},
		{&s.putConflict, `INSERT INTO conflict (sop, study, series, number, digest, why, size, received, journal, segment, pack, live, record, attributes)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sop, digest) DO NOTHING`},
		{&s.conflict, `SELECT c.id, c.study, c.series, c.live, coalesce(p.name, '') FROM conflict c LEFT JOIN pack p ON p.id = c.pack
			WHERE c.sop = ? AND c.digest = ?`},
		{&s.planConflict, `UPDATE conflict SET pack = ? WHERE sop = ? AND digest = ?`},
		{&s.archiveConflicts, `UPDATE conflict SET live = 0, journal = '', segment = 0 WHERE pack = ?`},
		{&s.moveConflict, `UPDATE conflict SET live = 0, journal = '', segment = 0, pack = ? WHERE id = ?`},

		{&s.members, `SELECT members FROM pack WHERE study = ? AND conflict = 0 AND plan IS NULL`},
		{&s.putPack, `INSERT INTO pack (name, study, series, conflict, instances, members, plan) VALUES (?, ?, ?, ?, ?, ?, ?)`},
		{&s.pack, `SELECT id, study, series, conflict, plan FROM pack WHERE name = ?`},
		{&s.archivePack, `UPDATE pack SET members = ?, instances = ?, plan = NULL WHERE id = ?`},
		{&s.deletedPack, `SELECT EXISTS (SELECT 1 FROM deleted_pack WHERE name = ?)`},
		{&s.putCopy, `INSERT INTO copy VALUES (?1, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT DO UPDATE SET crc32c = ?5 WHERE crc32c = 0`},
	}) {
		stmt, err := c.PrepareContext(ctx, p.sql) //nolint:sqlclosecheck // close closes all
		if err != nil {
			_ = s.close() // the first error is the one to tell
			return nil, fmt.Errorf("prepare %q: %w", p.sql, err)
		}
		*p.to = stmt
		s.all = append(s.all, stmt)
	}
	return s, nil
}

func (s *statements) close() error {
	var errs []error
	for _, stmt := range s.all {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(errs...)
}

// lastOfIdentity is the last change of a local identity or of a number.
const lastOfIdentity = `SELECT max(
	coalesce((SELECT max(id) FROM identity_change WHERE patient = ?1 AND issuer = ?2), 0),
	coalesce((SELECT max(id) FROM identity_change WHERE number = ?3 AND authority = ?4), 0))`
