package main

import "golang.org/x/sys/unix"

// described are the calls that plugins make for their work: about the network, files, what is open, programs and
// namespaces. Those that Go's runtime makes for itself (futex, epoll, memory, signals, threads) are not among them: a Go program
// cannot do without them, and says so by its end.
var described = map[uint64]struct {
	name   string
	onFile bool // its first argument is open
	class  class
}{
	unix.SYS_SOCKET: {"socket", false, 0}, unix.SYS_BIND: {"bind", true, 0}, unix.SYS_CONNECT: {"connect", true, 0},
	unix.SYS_GETSOCKNAME: {"getsockname", true, 0}, unix.SYS_GETPEERNAME: {"getpeername", true, 0},
	unix.SYS_SETSOCKOPT: {"setsockopt", true, 0}, unix.SYS_GETSOCKOPT: {"getsockopt", true, waits},
	unix.SYS_SENDTO: {"sendto", true, changes}, unix.SYS_SENDMSG: {"sendmsg", true, changes | waits},
	unix.SYS_RECVFROM: {"recvfrom", true, 0}, unix.SYS_RECVMSG: {"recvmsg", true, waits},

	unix.SYS_OPENAT: {"openat", false, waits}, unix.SYS_READLINKAT: {"readlinkat", false, waits}, unix.SYS_FACCESSAT: {"faccessat", false, 0},
	unix.SYS_FACCESSAT2: {"faccessat2", false, 0}, unix.SYS_NEWFSTATAT: {"fstatat", false, waits}, unix.SYS_STATX: {"statx", false, waits},
	unix.SYS_STATFS: {"statfs", false, waits}, unix.SYS_MKDIRAT: {"mkdirat", false, changes | waits}, unix.SYS_UNLINKAT: {"unlinkat", false, changes | waits},
	unix.SYS_LINKAT: {"linkat", false, changes | waits}, unix.SYS_SYMLINKAT: {"symlinkat", false, changes | waits},
	unix.SYS_RENAMEAT: {"renameat", false, changes | waits}, unix.SYS_RENAMEAT2: {"renameat2", false, changes | waits},
	unix.SYS_FCHMODAT: {"fchmodat", false, changes}, unix.SYS_FCHOWNAT: {"fchownat", false, changes}, unix.SYS_UTIMENSAT: {"utimensat", false, changes},

	unix.SYS_READ: {"read", true, waits}, unix.SYS_PREAD64: {"pread64", true, waits}, unix.SYS_WRITE: {"write", true, changes | waits},
	unix.SYS_WRITEV: {"writev", true, changes}, unix.SYS_PWRITE64: {"pwrite64", true, changes | waits}, unix.SYS_FSTAT: {"fstat", true, waits},
	unix.SYS_FSTATFS: {"fstatfs", true, waits}, unix.SYS_LSEEK: {"lseek", true, 0}, unix.SYS_GETDENTS64: {"getdents64", true, waits},
	unix.SYS_FTRUNCATE: {"ftruncate", true, changes | waits}, unix.SYS_FCHMOD: {"fchmod", true, changes}, unix.SYS_FSYNC: {"fsync", true, 0},
	unix.SYS_FDATASYNC: {"fdatasync", true, 0}, unix.SYS_FLOCK: {"flock", true, waits}, unix.SYS_IOCTL: {"ioctl", true, changes | waits},
	unix.SYS_FCNTL: {"fcntl", true, 0}, unix.SYS_CLOSE: {"close", true, 0}, unix.SYS_DUP3: {"dup3", true, 0}, unix.SYS_PIPE2: {"pipe2", false, 0},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", true, changes},

	unix.SYS_SETNS: {"setns", true, 0}, unix.SYS_UNSHARE: {"unshare", false, 0}, unix.SYS_MOUNT: {"mount", false, changes},
	unix.SYS_UMOUNT2: {"umount2", false, changes}, unix.SYS_EXECVE: {"execve", false, 0}, unix.SYS_WAIT4: {"wait4", false, waits},
	unix.SYS_WAITID: {"waitid", false, waits}, unix.SYS_PRCTL: {"prctl", false, 0},
}

// class is what is to be known of a call.
type class int

const (
	changes class = 1 << iota // something that outlives the program, or that others see
	waits                     // so that a signal can end it: in a wait, for a lock, or on a file system of another process's
)

// works reports whether a call is a part of a program's work, and can fail. What is in a pipe can be read: Go counts on it
// where it starts a program.
func works(c call) bool { return own(c) && !(c.nr == unix.SYS_READ && c.file() == "pipe") }

// own reports whether it is not the runtime's, which wakes its threads by an eventfd.
func own(c call) bool {
	d, known := described[c.nr]
	return known && !(d.onFile && c.file() == "anon_inode")
}

// changing reports whether a call can change what outlives the program. A kill between two of these is the same as one right
// before the second.
func changing(c call) bool {
	const making = unix.O_CREAT | unix.O_TRUNC
	switch {
	case c.nr == unix.SYS_EXIT_GROUP:
		return true
	case c.nr == unix.SYS_OPENAT && c.args[2]&making != 0:
		return true
	}
	return described[c.nr].class&changes != 0 && works(c)
}

// interruptible reports whether a signal can end a call. sendto, recvfrom and connect are not among them: plugins make these on
// sockets alone that do not block (Go's runtime waits), as those of vishvananda/netlink and to the DHCP daemon, and the kernel has
// no EINTR for them. Neither has access(2), which package os/exec makes once where it looks for a program.
func interruptible(c call) bool { return described[c.nr].class&waits != 0 && own(c) }
