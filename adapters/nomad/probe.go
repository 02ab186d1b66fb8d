package nomad

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/broker"
)

// Finding is one thing that was measured at a site.
type Finding struct {
	Name  string
	OK    bool
	Found string
	Help  string // what to do when it is not OK
}

const (
	leastMajor, leastMinor = 1, 6             // the oldest Nomad that the tests run on
	soon                   = time.Hour        // a token that ends before is told
	probeFor               = 30 * time.Second // all questions together
)

// Probe measures what an agent with these settings can do at a site that has
// these GPUs, and starts nothing: of each namespace it asks what the agent asks,
// and has a job planned, which Nomad forgets.
func Probe(ctx context.Context, c Config, gpus []broker.GPUType) []Finding {
	c = c.withDefaults()
	s := &Scheduler{cfg: c, taken: map[key]bool{}, forced: map[string]time.Time{}}
	var err error
	if s.client, err = newClient(c, new(atomic.Int64)); err != nil {
		return []Finding{{Name: "nomad", Found: err.Error(), Help: "correct the site's section of the configuration"}}
	}
	defer s.client.Close()
	ctx, done := context.WithTimeout(ctx, probeFor)
	defer done()
	out := []Finding{s.probeToken(ctx)}
	if strings.HasPrefix(out[0].Name, "nomad_reach") {
		return out
	}
	for _, ns := range c.spaces() {
		out = append(out, s.probeNamespace(ctx, ns))
	}
	out = append(out, s.probeLists(ctx))
	nodes, err := s.nodes(ctx)
	if err != nil {
		return append(out, Finding{Name: "nomad_nodes", Found: say(err), Help: `the token may not read nodes: give its policy node { policy = "read" }`})
	}
	out = append(out, s.probeVersion(ctx, nodes), s.probeNodes(nodes), s.probeDriver(nodes))
	for _, g := range gpus {
		out = append(out, s.probeGPUs(nodes, g))
	}
	return out
}

// say is an error in Nomad's own words where it has some.
func say(err error) string {
	if e, ok := errors.AsType[api.UnexpectedResponseError](err); ok && e.HasStatusCode() {
		return fmt.Sprintf("status %d: %s", e.StatusCode(), strings.TrimSpace(e.Body()))
	}
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// probeToken says who the agent is to Nomad and for how long, or that Nomad does
// not answer at all.
func (s *Scheduler) probeToken(ctx context.Context) Finding {
	f := Finding{Name: "nomad_token"}
	q, done, err := s.query(ctx, api.DefaultNamespace)
	if err != nil {
		f.Found, f.Help = say(err), "token_file names a file that the agent may read"
		return f
	}
	defer done()
	t, _, err := s.client.ACLTokens().Self(q)
	switch {
	case err != nil && isStatus(err, http.StatusBadRequest, "ACL support disabled"):
		f.Found, f.Help = "Nomad asks for no token", "turn ACLs on: without them everybody who reaches Nomad runs jobs as any account"
	case err != nil && (classOf(err) == classAuth || classOf(err) == classUnknown):
		f.Found, f.Help = "Nomad does not know the token, or it expired", "put a valid token into token_file; it is read anew for each request"
	case err != nil:
		f.Name, f.Found, f.Help = "nomad_reach", say(translate("ask who the agent is", err)), "look whether Nomad runs and has a leader, and whether address and TLS files are right"
	case t.AccessorID == "anonymous" || t.SecretID == "":
		f.Found, f.Help = "the agent sends no token", "name a token_file"
	case t.Type == "management":
		f.Found, f.Help = "a management token"+s.until(t), "give the agent a client token with the policy of deploy/site: it may do far more than an agent needs"
	case t.ExpirationTime != nil && t.ExpirationTime.Sub(s.cfg.Now()) < soon:
		f.Found, f.Help = "policies "+strings.Join(t.Policies, ", ")+s.until(t), "renew it: put the next one into token_file, which is read anew for each request"
	default:
		f.OK, f.Found = true, "policies "+strings.Join(t.Policies, ", ")+s.until(t)
	}
	return f
}

func (s *Scheduler) until(t *api.ACLToken) string {
	if t.ExpirationTime == nil {
		return ", never expires"
	}
	return fmt.Sprintf(", expires %s, in %s", t.ExpirationTime.UTC().Format(time.RFC3339), t.ExpirationTime.Sub(s.cfg.Now()).Round(time.Second))
}

func isStatus(err error, code int, body string) bool {
	e, ok := errors.AsType[api.UnexpectedResponseError](err)
	return ok && e.StatusCode() == code && strings.Contains(e.Body(), body)
}

// probeNamespace has a job of a namespace's first account planned.
func (s *Scheduler) probeNamespace(ctx context.Context, ns string) Finding {
	f := Finding{Name: "nomad_namespace " + ns}
	i := slices.IndexFunc(s.cfg.Accounts, func(a string) bool { return s.cfg.namespaceOf(a) == ns })
	l := broker.Launch{
		Name: "check-" + ns, Account: s.cfg.Accounts[i], OrderDigest: broker.DigestOf(nil), Argv: []string{"/bin/true"},
		Resources: broker.Resources{Nodes: 1, CPUsPerNode: 1, Walltime: time.Minute},
	}
	q, done, err := s.write(ctx, ns)
	if err != nil {
		f.Found, f.Help = say(err), "token_file names a file that the agent may read"
		return f
	}
	defer done()
	plan, _, err := s.client.Jobs().PlanOpts(job(s.cfg, l), nil, q)
	switch {
	case err != nil && (classOf(err) == classAuth || classOf(err) == classUnknown):
		f.Found = "the token may not submit jobs there, or there is no such namespace"
		f.Help = fmt.Sprintf(`make the namespace, and give the token's policy namespace %q { capabilities = ["submit-job", "read-job", "list-jobs"] }`, ns)
	case err != nil:
		f.Found, f.Help = say(translate("plan a job", err)), "Nomad refuses the job that an agent would submit"
	case plan.FailedTGAllocs[groupName] != nil:
		f.Found = "a job may be submitted and would not be placed: " + metrics(plan.FailedTGAllocs[groupName])
		f.Help = "see what each word means under explain, and look at node_pool, datacenters and driver of the site's section"
	default:
		f.OK, f.Found = true, "a job of one core would be placed now"
	}
	return f
}

// probeLists asks what every tick asks.
func (s *Scheduler) probeLists(ctx context.Context) Finding {
	f := Finding{Name: "nomad_lists", Help: `the token's policy needs list-jobs and read-job in each of the site's namespaces`}
	w, err := s.look(ctx, nil)
	if err != nil {
		f.Found = say(err)
		return f
	}
	foreign := map[string]bool{}
	for p := range w.jobs {
		if !slices.Contains(s.cfg.spaces(), p.namespace) {
			foreign[p.namespace] = true
		}
	}
	f.OK, f.Found = true, fmt.Sprintf("%d jobs in %d namespaces of the site", len(w.jobs), len(s.cfg.spaces()))
	if len(foreign) > 0 {
		f.OK, f.Found = false, "the token reads jobs of other namespaces too: "+strings.Join(slices.Sorted(maps.Keys(foreign)), ", ")
		f.Help = "name only the site's own namespaces in the token's policy: each tick lists all that the token may read"
	}
	return f
}

// nodes lists the nodes that the site's jobs may go to, with their devices.
func (s *Scheduler) nodes(ctx context.Context) ([]*api.NodeListStub, error) {
	all, err := list(ctx, s, "list nodes", "", "", map[string]string{"resources": "true"}, s.client.Nodes().List)
	if err != nil {
		return nil, err
	}
	pool := s.cfg.NodePool
	if pool == "" {
		pool = api.NodePoolDefault
	}
	return slices.DeleteFunc(all, func(n *api.NodeListStub) bool {
		elsewhere := s.cfg.Datacenters[0] != "*" && !slices.Contains(s.cfg.Datacenters, n.Datacenter)
		return elsewhere || pool != api.NodePoolAll && n.NodePool != pool
	}), nil
}

// usable reports whether Nomad places something on a node.
func usable(n *api.NodeListStub) bool {
	return n.Status == api.NodeStatusReady && n.SchedulingEligibility == api.NodeSchedulingEligible && !n.Drain
}

func (s *Scheduler) probeNodes(all []*api.NodeListStub) Finding {
	f := Finding{Name: "nomad_nodes", Help: "start nodes in the site's node pool and datacenters, or name others in its section"}
	ready := 0
	for _, n := range all {
		if usable(n) {
			ready++
		}
	}
	pool := s.cfg.NodePool
	if pool == "" {
		pool = api.NodePoolDefault
	}
	f.OK, f.Found = ready > 0, fmt.Sprintf("%d of %d nodes of pool %s take jobs", ready, len(all), pool)
	return f
}

// probeVersion is the servers' version where the token may read it, and the
// nodes' versions besides.
func (s *Scheduler) probeVersion(ctx context.Context, nodes []*api.NodeListStub) Finding {
	f := Finding{Name: "nomad_version", Help: fmt.Sprintf("use Nomad %d.%d or later on servers and nodes", leastMajor, leastMinor)}
	versions := map[string]bool{}
	for _, n := range nodes {
		versions[n.Version] = true
	}
	found := "nodes " + strings.Join(slices.Sorted(maps.Keys(versions)), ", ")
	if server := s.serverVersion(ctx); server != "" {
		versions[server] = true
		found = "server " + server + ", " + found
	}
	f.OK, f.Found = len(versions) > 0, found
	for v := range versions {
		var major, minor int
		if n, _ := fmt.Sscanf(v, "%d.%d", &major, &minor); n != 2 || major < leastMajor || major == leastMajor && minor < leastMinor {
			f.OK = false
		}
	}
	return f
}

// serverVersion is "" where the token may not read the agent.
func (s *Scheduler) serverVersion(ctx context.Context) string {
	q, done, err := s.query(ctx, "")
	if err != nil {
		return ""
	}
	defer done()
	var self struct {
		Config struct{ Version struct{ Version string } } `json:"config"`
	}
	if _, err := s.client.Raw().Query("/v1/agent/self", &self, q); err != nil {
		return ""
	}
	return self.Config.Version.Version
}

func (s *Scheduler) probeDriver(nodes []*api.NodeListStub) Finding {
	f := Finding{Name: "nomad_driver", Help: "enable the driver in the clients' configuration; as root, since it starts each job as its account by task.user"}
	healthy, why := 0, ""
	for _, n := range nodes {
		d := n.Drivers[s.cfg.Driver]
		switch {
		case d == nil || !d.Detected:
			why = "not there on " + n.Name
		case !d.Healthy:
			why = d.HealthDescription + " on " + n.Name
		default:
			healthy++
		}
	}
	f.OK, f.Found = healthy > 0 && healthy == len(nodes), fmt.Sprintf("%s healthy on %d of %d nodes", s.cfg.Driver, healthy, len(nodes))
	if why != "" {
		f.Found += ": " + why
	}
	return f
}

// probeGPUs counts the healthy devices of a type by node.
func (s *Scheduler) probeGPUs(nodes []*api.NodeListStub, g broker.GPUType) Finding {
	f := Finding{Name: "nomad_gpus " + g.Name, Help: "install the device plugin on the nodes, name the device under devices in the site's section, or correct gpus in the site file"}
	healthy, all, fits, on := 0, 0, 0, 0
	for _, n := range nodes {
		if n.NodeResources == nil || !usable(n) {
			continue
		}
		here := 0
		for _, d := range n.NodeResources.Devices {
			if !s.matches(d, g.Name) {
				continue
			}
			for _, one := range d.Instances {
				all++
				if one.Healthy {
					here++
				}
			}
		}
		healthy += here
		if here > 0 {
			on++
		}
		if here >= g.PerNode {
			fits++
		}
	}
	f.OK = fits > 0
	f.Found = fmt.Sprintf("%d of %d healthy on %d nodes; %d nodes have the %d that the site file says", healthy, all, on, fits, g.PerNode)
	return f
}

// matches reports whether a job that asks for a GPU type is given this device.
func (s *Scheduler) matches(d *api.NodeDeviceResource, gpu string) bool {
	name, ok := s.cfg.Devices[gpu]
	if !ok {
		return d.Type == anyGPU && d.Name == gpu
	}
	switch parts := strings.SplitN(name, "/", 3); len(parts) {
	case 1:
		return d.Type == parts[0]
	case 2:
		return d.Vendor == parts[0] && d.Type == parts[1]
	default:
		return d.Vendor == parts[0] && d.Type == parts[1] && d.Name == parts[2]
	}
}
