// Package failpoint marks the gaps between the steps of an instance's life at
// which a test wants a process to die. It is empty unless the program is built
// with the tag 'failpoints'.
package failpoint

// The gaps.
const (
	// JournalSynced: durable in this node's journal, and nobody was told.
	JournalSynced = "journal-synced"
	// Copied: durable on as many nodes as it must.
	Copied = "copied"
	// Committed: in the index of the cluster.
	Committed = "committed"
	// Put: a pack lies in the archive, and the index does not know.
	Put = "put"
	// Answering: all is done, and the sender is about to be told.
	Answering = "answering"
)

// Variable is the environment variable that names the gap at which the process
// kills itself, as NAME or NAME=COUNT for the time that it is passed.
const Variable = "FAILPOINT"
