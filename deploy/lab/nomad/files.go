package nomadlab

import (
	"fmt"
	"strings"
)

// initScript is the first process of the namespaces. It reaps what tasks leave
// behind, and starts the agent again whenever it ended.
const initScript = `set -eu
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
cd /
while :; do
	if [ ! -e "$1/down" ]; then
		env -i PATH=/usr/bin:/bin GOMEMLIMIT=400MiB "$2" agent -config "$1/agent.hcl" >>"$1/agent.log" 2>&1 </dev/null || :
	fi
	sleep 0.1
done
`

// passwd and group are the machine's own files with the lab's accounts added.
func passwd(old string, users map[string]int) string {
	var b strings.Builder
	b.WriteString(strings.TrimRight(old, "\n") + "\n")
	for name, uid := range users {
		fmt.Fprintf(&b, "%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", name, uid, uid)
	}
	return b.String()
}

func group(old string, users map[string]int) string {
	var b strings.Builder
	b.WriteString(strings.TrimRight(old, "\n") + "\n")
	for name, uid := range users {
		fmt.Fprintf(&b, "%s:x:%d:\n", name, uid)
	}
	return b.String()
}

// secondConfig is a client alone, in a node pool of its own.
func (l *Lab) secondConfig(ports [3]int) string {
	return fmt.Sprintf(`
data_dir = "%[1]s/second"
plugin_dir = "%[2]s/plugins"
bind_addr = "127.0.0.1"
name = "second"
disable_update_check = true
advertise {
  http = "127.0.0.1:%[3]d"
  rpc = "127.0.0.1:%[4]d"
  serf = "127.0.0.1:%[5]d"
}
ports {
  http = %[3]d
  rpc = %[4]d
  serf = %[5]d
}
acl { enabled = true }
consul { client_auto_join = false }
client {
  enabled = true
  servers = ["127.0.0.1:%[6]d"]
  node_pool = "%[7]s"
  network_interface = "lo"
  cpu_total_compute = 64000
  memory_total_mb = 65536
  options = {
    "driver.allowlist" = "raw_exec"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault,cni,bridge"
  }
}
plugin "raw_exec" {
  config {
    enabled = true
    no_cgroups = true
  }
}
plugin "gpu" {
  config {
    model = "%[8]s"
    count = 1
    unhealthy = "%[1]s/none"
  }
}
`, l.Dir, l.bin, ports[0], ports[1], ports[2], l.ports[1], SecondPool, l.GPUType)
}

// config is the agent's configuration: a server of one and a client, not in
// development mode, so that jobs outlive a restart.
func (l *Lab) config() string {
	return fmt.Sprintf(`
data_dir = "%[1]s/data"
plugin_dir = "%[2]s/plugins"
bind_addr = "127.0.0.1"
name = "lab"
log_level = "INFO"
disable_update_check = true
leave_on_interrupt = false
leave_on_terminate = false
advertise {
  http = "127.0.0.1:%[3]d"
  rpc = "127.0.0.1:%[4]d"
  serf = "127.0.0.1:%[5]d"
}
ports {
  http = %[3]d
  rpc = %[4]d
  serf = %[5]d
}
acl {
  enabled = true
  token_min_expiration_ttl = "1s"
}
consul {
  auto_advertise = false
  client_auto_join = false
  server_auto_join = false
}
server {
  enabled = true
  bootstrap_expect = 1
}
client {
  enabled = true
  network_interface = "lo"
  cpu_total_compute = 64000
  memory_total_mb = 65536
  options = {
    "driver.allowlist" = "raw_exec,mock_driver"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault,cni,bridge"
  }
}
limits { http_max_conns_per_client = 0 }
plugin "raw_exec" {
  config {
    enabled = true
    no_cgroups = true
  }
}
plugin "gpu" {
  config {
    model = "%[6]s"
    count = %[7]d
    unhealthy = "%[1]s/unhealthy"
  }
}
`, l.Dir, l.bin, l.ports[0], l.ports[1], l.ports[2], l.GPUType, l.GPUs)
}
