package index

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"
)

const (
	// walMost is how many bytes the -wal has before readers are waited for to
	// empty it; when it has grown by a quarter that is tried again.
	walMost = 64 << 20
	// walWait bounds how long readers are waited for, and a batch with them.
	walWait = 500 * time.Millisecond
	// lockWait is how long another process that holds a lock is waited for.
	lockWait = 10 * time.Second
)

// shorten empties the -wal when it has become long; apply is held. Checkpoints
// bring it into the database beside readers, but it is written from its
// beginning again only when nobody reads of it at that moment: with searches one
// after the other that may be never, and it would grow until the disk is full.
// Here those who read it just now are waited for; who comes meanwhile reads the
// database alone. What fails is tried again later, as a checkpoint is.
func (x *Index) shorten(ctx context.Context) {
	info, err := os.Stat(x.o.Path + "-wal")
	most := cmp.Or(x.walMost, walMost)
	if err != nil || info.Size() < max(most, x.walTried+most/4) {
		return
	}
	x.walTried = info.Size()
	if x.waitAtMost(ctx, walWait) != nil {
		return
	}
	var busy, frames, done int64
	err = x.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &done)
	if err == nil && busy == 0 {
		x.walTried = 0
	}
	_ = x.waitAtMost(ctx, lockWait) // it fails only with the connection
}

// waitAtMost sets for how long the connection that writes waits for others.
func (x *Index) waitAtMost(ctx context.Context, d time.Duration) error {
	_, err := x.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
	return err
}
