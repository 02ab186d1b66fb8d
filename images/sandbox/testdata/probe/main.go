// Command probe is run inside the sandbox by the tests and says, as JSON, what
// it could do there.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb := "caps"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "reach":
		print(reach(os.Args[2], os.Args[3], os.Args[4]))
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "signal":
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		hang()
	case "abort":
		signal.Reset()
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		hang()
	case "wait":
		fmt.Println("waiting")
		hang()
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("waiting")
		hang()
	case "polite":
		c := make(chan os.Signal, 8)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("waiting")
		<-c
		fmt.Println("terminated")
		os.Exit(5)
	case "checkpoint":
		c := make(chan os.Signal, 8)
		signal.Notify(c, syscall.SIGUSR1)
		fmt.Println("waiting")
		s := <-c
		if err := os.WriteFile(os.Getenv("VALICO_CKPT")+"/n", []byte("7"), 0o600); err != nil {
			fmt.Println(err)
		}
		fmt.Println(s)
		os.Exit(85)
	case "ckpt":
		fmt.Println(os.Getenv("VALICO_CKPT"))
	case "dial":
		c, err := net.DialTimeout("tcp", os.Args[2], time.Second)
		if err != nil {
			fmt.Println("refused")
			return
		}
		_ = c.Close()
		fmt.Println("reached")
	case "orphans":
		orphans()
	case "metrics":
		m := os.NewFile(3, "metrics")
		_, err := m.WriteString("{\"name\":\"loss\"}\n")
		fmt.Println(os.Getenv("VALICO_METRICS"), err)
	case "pwd":
		dir, err := os.Getwd()
		data, err2 := os.ReadFile(os.Getenv("VALICO_DATA") + "/x/f")
		err3 := os.WriteFile(os.Getenv("VALICO_OUT")+"/f", data, 0o600)
		err4 := os.WriteFile(os.Getenv("HOME")+"/f", data, 0o600)
		fmt.Println(dir, string(data), err, err2, err3, err4)
	case "caps":
		print(status())
	}
}

func print(v any) { _ = json.NewEncoder(os.Stdout).Encode(v) }

// orphans starts a grandchild in a session of its own that outlives us.
func orphans() {
	c := exec.Command("/proc/self/exe", "wait")
	if os.Args[len(os.Args)-1] != "again" {
		c = exec.Command("/proc/self/exe", "orphans", "again")
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Stdout = os.Stdout
	if err := c.Start(); err != nil {
		fmt.Println(err)
	}
	fmt.Println("pid", c.Process.Pid)
}

func status() map[string]string {
	all := map[string]string{}
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		if strings.HasPrefix(k, "Cap") || k == "NoNewPrivs" || k == "Uid" {
			all[k] = strings.Join(strings.Fields(v), " ")
		}
	}
	return all
}

func text(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

func reach(hostTCP, hostUDP, hostPath string) map[string]string {
	r := status()
	network(r, hostTCP, hostUDP)
	files(r, hostPath)
	privileges(r)
	return r
}

func network(r map[string]string, hostTCP, hostUDP string) {
	c, err := net.DialTimeout("tcp", hostTCP, time.Second)
	r["tcp"] = text(err)
	if err == nil {
		c.Close()
	}
	_, err = net.DialTimeout("tcp", "192.0.2.1:80", time.Second)
	r["tcp_out"] = text(err)
	if u, err := net.Dial("udp", hostUDP); err == nil {
		_, _ = u.Write([]byte("leak"))
	}
	_, err = net.Dial("udp", "192.0.2.1:53")
	r["udp_out"] = text(err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err = (&net.Resolver{PreferGo: true}).LookupHost(ctx, "example.org")
	r["dns"] = text(err)
	_, err = net.Dial("unix", "@valico-sandbox-test-"+filepath.Base(os.Args[4]))
	r["abstract"] = text(err)
	for name, family := range map[string]int{"vsock": 40, "alg": 38, "packet": 17, "bluetooth": 31, "tipc": 30, "unix": 1, "inet6": 10, "netlink": 16} {
		_, err := syscall.Socket(family, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, 0)
		if name == "inet6" || name == "unix" {
			_, err = syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
		}
		r["family_"+name] = text(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		_, err = net.DialTimeout("tcp", l.Addr().String(), time.Second)
	}
	r["own_loopback"] = text(err)
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		r["interfaces"] += i.Name + " "
	}
}

func files(r map[string]string, hostPath string) {
	b, err := os.ReadFile("/data/x/f")
	r["data"] = string(b) + text(err)
	for name, path := range map[string]string{
		"data": "/data/x/new", "root": "/new", "etc": "/etc/new", "out": "/out/new", "home": os.Getenv("HOME") + "/new",
		"tmp": "/tmp/new", "shm": "/dev/shm/new", "dev": "/dev/new", "null": "/dev/null",
		"core_pattern": "/proc/sys/kernel/core_pattern", "userns_limit": "/proc/sys/user/max_user_namespaces",
		"oom": "/proc/self/oom_score_adj", "sysrq": "/proc/sysrq-trigger", "data_file": "/data/x/f",
	} {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			if !strings.HasPrefix(path, "/proc") { // a sandbox that fails must not cost the node its settings
				_, err = f.Write([]byte("0"))
			}
			f.Close()
		}
		r["write_"+name] = text(err)
	}
	r["chmod_null"] = text(os.Chmod("/dev/null", 0o666))
	r["chmod_data"] = text(os.Chmod("/data/x/f", 0o666))
	_, err = os.Stat(hostPath)
	r["host_path"] = text(err)
	for _, p := range []string{"exe", "root", "cwd", "environ", "fd", "mem"} {
		if p == "environ" || p == "mem" {
			_, err = os.ReadFile("/proc/1/" + p)
		} else if p == "fd" {
			_, err = os.Open("/proc/1/fd/5")
		} else {
			_, err = os.Readlink("/proc/1/" + p)
		}
		r["pid1_"+p] = text(err)
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, e := range fds {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.Contains(target, "eventpoll") && !strings.Contains(target, "eventfd") && !strings.Contains(target, "socket:") {
			n, _ := strconv.Atoi(e.Name())
			if n > 2 {
				r["fds"] += e.Name() + "=" + target + " "
			}
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	r["procs"] = strings.Join(procs, " ")
	r["root_entries"] = list("/")
	r["dev_entries"] = list("/dev")
	r["env"] = strings.Join(os.Environ(), " ")
	r["hostname"], _ = os.Hostname()
	r["cwd"], _ = os.Getwd()
}

func list(dir string) string {
	es, err := os.ReadDir(dir)
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ") + text(err)
}

func privileges(r map[string]string) {
	const bind, remount, ro = syscall.MS_BIND, syscall.MS_REMOUNT, syscall.MS_RDONLY
	r["remount_data"] = text(syscall.Mount("", "/data/x", "", bind|remount|syscall.MS_NOSUID|syscall.MS_NODEV, ""))
	r["remount_root"] = text(syscall.Mount("", "/", "", bind|remount, ""))
	r["remount_proc"] = text(syscall.Mount("", "/proc", "", bind|remount, ""))
	r["umount_data"] = text(syscall.Unmount("/data/x", syscall.MNT_DETACH))
	r["mount_tmpfs"] = text(syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	r["bind"] = text(syscall.Mount("/data/x", "/tmp", "", bind, ""))
	r["mknod"] = text(syscall.Mknod("/tmp/sda", syscall.S_IFBLK|0o600, 8<<8))
	r["chroot"] = text(syscall.Chroot("/tmp"))
	r["sethostname"] = text(syscall.Sethostname([]byte("x")))
	const seize = 0x4206 // unlike an attach, it stops nobody when it works
	if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, seize, 1, 0, 0, 0, 0); errno != 0 {
		r["ptrace"] = text(errno)
	} else {
		r["ptrace"] = "ok"
	}
	r["unshare_net"] = text(syscall.Unshare(syscall.CLONE_NEWNET))
	r["setuid"] = text(syscall.Setuid(os.Getuid() + 1))
	r["nested"] = text(nested())
	for name, call := range map[string]uintptr{"io_uring": 425, "add_key": addKey, "keyctl": keyctl, "bpf": bpf} {
		_, _, errno := syscall.Syscall6(call, 0, 0, 0, 0, 0, 0)
		r["call_"+name] = text(errno)
	}
	out, err := exec.Command("/proc/self/exe", "caps").Output()
	r["child"] = string(out) + text(err)
	var core syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	r["core"] = fmt.Sprint(core.Cur, core.Max)
}

func nested() error {
	c := exec.Command("/proc/self/exe", "caps")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return c.Run()
}

// hang blocks in a system call, which is no deadlock to the runtime.
func hang() {
	for {
		_, _ = syscall.Select(0, nil, nil, nil, nil)
	}
}
