//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A network namespace holds the families that know of namespaces. Others do
// not ask it: a virtual machine's AF_VSOCK reaches the host under it. So the
// workload gets the four families that programs use and the namespace holds,
// and none of the ways around a filter on socket(2), such as io_uring, nor the
// kernel's key store, which is the account's on the whole node, nor bpf(2).

// allowedFamilies may be opened; others do not exist here.
func allowedFamilies() []uint32 {
	return []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
}

// deniedCalls do not exist here.
func deniedCalls() []uint32 {
	return []uint32{
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_BPF,
	}
}

// Offsets in struct seccomp_data, little endian.
const (
	dataCall     = 0
	dataArch     = 4
	dataFirstArg = 16
)

// x32Bit marks calls of the x32 interface, which number the same calls anew.
const x32Bit = 0x40000000

func filterCalls() error {
	arch, err := auditArch()
	if err != nil {
		return err
	}
	f := program(arch)
	p := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}                                                              //nolint:gosec // some twenty instructions
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&p)), 0, 0); err != nil { //nolint:gosec // the kernel takes the filter by address
		return fmt.Errorf("seccomp: %w", err)
	}
	runtime.KeepAlive(f)
	return nil
}

func auditArch() (uint32, error) {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, nil
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, nil
	}
	return 0, errors.New("there is no filter of system calls for " + runtime.GOARCH)
}

// program is the filter as BPF. Every test is followed by its answer, so that
// no jump goes further than over two instructions.
func program(arch uint32) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	// when answers if the loaded word compares true, else goes on.
	when := func(compare uint16, value, answer uint32) []unix.SockFilter {
		return []unix.SockFilter{
			{Code: unix.BPF_JMP | compare | unix.BPF_K, Jf: 1, K: value},
			{Code: unix.BPF_RET | unix.BPF_K, K: answer},
		}
	}
	const (
		allow    = uint32(unix.SECCOMP_RET_ALLOW)
		kill     = uint32(unix.SECCOMP_RET_KILL_PROCESS)
		noCall   = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
		noFamily = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EAFNOSUPPORT)
	)
	f := []unix.SockFilter{
		load(dataArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch},
		{Code: unix.BPF_RET | unix.BPF_K, K: kill}, // another interface, with other numbers
		load(dataCall),
	}
	f = append(f, when(unix.BPF_JGE, x32Bit, kill)...)
	for _, c := range deniedCalls() {
		f = append(f, when(unix.BPF_JEQ, c, noCall)...)
	}
	f = append(
		f,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 2, K: unix.SYS_SOCKET},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.SYS_SOCKETPAIR},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: allow}, // any other call
		load(dataFirstArg),
	)
	for _, a := range allowedFamilies() {
		f = append(f, when(unix.BPF_JEQ, a, allow)...)
	}
	return append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: noFamily})
}
