package dir

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// openBeneath opens a file for reading that lies below folder, as os.Root does,
// but all of its path by one system call. It is errors.ErrUnsupported where the
// system has none.
func openBeneath(folder *os.File, name string) (*os.File, error) {
	for {
		// O_NONBLOCK: see open.
		fd, err := unix.Openat2(int(folder.Fd()), name, &unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path.Join(folder.Name(), name)), nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EAGAIN):
			return nil, errors.ErrUnsupported // by the kernel, or by a sandbox; or the path was changing
		default:
			return nil, &fs.PathError{Op: "openat2", Path: name, Err: err}
		}
	}
}
