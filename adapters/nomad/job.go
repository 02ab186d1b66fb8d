package nomad

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

// Names inside every job; they say nothing.
const (
	groupName = "launch"
	taskName  = "main"
	metaOrder = "order" // digest of the order
	// metaAccount repeats task.user, which a list of jobs does not tell.
	metaAccount = "account"
	anyGPU      = "gpu" // Nomad matches a device's type
	path        = "/usr/bin:/bin"
	// restartMode is what Nomad does when no restart is left: "delay" would wait
	// and restart for ever.
	restartMode = "fail"
	nodeName    = "${node.unique.name}"
	held        = "held"
	heldNode    = nodeName + " = " + held // as Nomad says it
)

// job translates a launch by the one template. Nothing else of a launch reaches
// Nomad.
func job(c Config, l broker.Launch) *api.Job {
	zero, one, no, yes, batch := 0, 1, false, true, api.JobTypeBatch
	never, kill := time.Duration(0), c.killAfter()
	logFiles, logSize := 1, 1
	j := &api.Job{
		ID: &l.Name, Name: &l.Name, Type: &batch, Namespace: new(c.namespaceOf(l.Account)), Datacenters: c.Datacenters,
		Priority: &c.Priority, Meta: map[string]string{metaOrder: string(l.OrderDigest), metaAccount: l.Account},
		TaskGroups: []*api.TaskGroup{{
			Name: new(groupName), Count: &one,
			// The broker owns retries; Nomad starts a launch once or not at all.
			RestartPolicy:    &api.RestartPolicy{Attempts: &zero, Mode: new(restartMode), Interval: new(time.Minute), Delay: new(time.Second)},
			ReschedulePolicy: &api.ReschedulePolicy{Attempts: &zero, Unlimited: &no, Interval: &never, Delay: &never},
			Disconnect:       &api.DisconnectStrategy{Replace: &no},
			EphemeralDisk:    &api.EphemeralDisk{SizeMB: new(50)},
			Tasks: []*api.Task{{
				Name: taskName, Driver: c.Driver, User: l.Account, Env: environment(l),
				Config:    map[string]any{"command": l.Argv[0], "args": l.Argv[1:]},
				Resources: resources(c, l.Resources), KillTimeout: &kill, KillSignal: "SIGTERM",
				// What a workload prints stays in the sandbox; Nomad keeps none of it.
				LogConfig: &api.LogConfig{Disabled: &yes, MaxFiles: &logFiles, MaxFileSizeMB: &logSize},
			}},
		}},
	}
	if c.Region != "" {
		j.Region = &c.Region
	}
	if c.NodePool != "" {
		j.NodePool = &c.NodePool
	}
	if l.Hold { // Nomad has no hold: no node is called this
		j.Constraints = []*api.Constraint{{LTarget: nodeName, Operand: "=", RTarget: held}}
	}
	return j
}

func environment(l broker.Launch) map[string]string {
	env := map[string]string{"PATH": path}
	for _, e := range l.Env {
		env[e.Name] = e.Value
	}
	return env
}

func resources(c Config, r broker.Resources) *api.Resources {
	out := &api.Resources{CPU: new(max(1, r.CPUsPerNode) * c.MHzPerCPU), MemoryMB: new(max(32, r.MemoryMiB))}
	if r.GPUsPerNode > 0 {
		d := &api.RequestedDevice{Name: anyGPU, Count: new(uint64(r.GPUsPerNode))}
		if name, ok := c.Devices[r.GPUType]; ok {
			d.Name = name
		} else if r.GPUType != "" {
			d.Constraints = []*api.Constraint{{LTarget: "${device.model}", Operand: "=", RTarget: r.GPUType}}
		}
		out.Devices = []*api.RequestedDevice{d}
	}
	return out
}

// killAfter leaves a program that itself waits one margin for its workload the
// time to say how it ended.
func (c Config) killAfter() time.Duration { return c.KillMargin + min(c.KillMargin, 2*time.Second) }

// asAsked compares a job that Nomad holds with its launch and names the rule
// that it breaks.
func asAsked(got *api.Job, c Config, l broker.Launch) (code, rule string, ok bool) {
	const altered, gpus = "launch_altered", "gpus_not_granted"
	if len(got.TaskGroups) != 1 || len(got.TaskGroups[0].Tasks) != 1 {
		return altered, "a launch is one task", false
	}
	g := got.TaskGroups[0]
	t := g.Tasks[0]
	none := func(n *int) bool { return n != nil && *n == 0 }
	switch {
	case t.User != l.Account || got.Meta[metaAccount] != l.Account || t.Driver != c.Driver:
		return altered, "a job runs as the account and with the driver that were asked for", false
	case t.Config["command"] != l.Argv[0]:
		return altered, "a job runs the program that was asked for", false
	case g.Count == nil || *g.Count != 1,
		g.RestartPolicy == nil || !none(g.RestartPolicy.Attempts) || g.RestartPolicy.Mode == nil || *g.RestartPolicy.Mode != restartMode,
		g.ReschedulePolicy == nil || !none(g.ReschedulePolicy.Attempts) || g.ReschedulePolicy.Unlimited == nil || *g.ReschedulePolicy.Unlimited:
		return altered, "a launch is started once and never again", false
	case asked(t.Resources) != l.Resources.GPUs():
		return gpus, ruleGPUs, false
	}
	return "", "", true
}

const ruleGPUs = "a job holds exactly the GPUs that it asked for"

func asked(r *api.Resources) int {
	n := 0
	if r != nil {
		for _, d := range r.Devices {
			one := uint64(1) // Nomad's default
			if d.Count != nil {
				one = *d.Count
			}
			n += int(min(one, 1<<20))
		}
	}
	return n
}

func check(l broker.Launch) error {
	if err := agent.CheckLaunch(l, "NOMAD"); err != nil {
		return err //nolint:wrapcheck // it is an edge's error
	}
	bad := func(value, rule string) error { return refused("launch_invalid", value, rule) }
	switch {
	case l.Resources.Nodes != 1:
		return bad(l.Name, "Nomad places each part of a job by itself, so a launch here has one node")
	case strings.ContainsAny(l.Resources.GPUType, "${}\n\r\x00"):
		return bad(l.Resources.GPUType, "a GPU type is a plain word")
	case slices.ContainsFunc(l.Argv, replaced):
		return bad(l.Name, "an argument has no ${ and %{, which Nomad would replace")
	}
	for _, e := range l.Env {
		if replaced(e.Value) {
			return bad(e.Name, "a variable has no ${ and %{, which Nomad would replace")
		}
	}
	return nil
}

func replaced(s string) bool { return strings.Contains(s, "${") || strings.Contains(s, "%{") }
