package disk

import "syscall"

// Space is the size of the disk on which a folder lies, and what this process
// may still write to it; 0 and 0 when it cannot be told.
func Space(dir string) (size, free int64) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, 0
	}
	return int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize //nolint:gosec // no disk is that large
}
