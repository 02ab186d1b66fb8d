package nomad

import (
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
)

func TestEveryClientAndDesiredStatusOfAnAllocationHasAState(t *testing.T) {
	t.Parallel()
	const run, stop, evict = "run", "stop", "evict"
	for _, c := range []struct {
		client, desired string
		want            agent.SchedulerState
	}{
		{"pending", run, agent.SchedulerQueued},
		{"pending", stop, agent.SchedulerEnding},
		{"pending", evict, agent.SchedulerEnding},
		{"running", run, agent.SchedulerRunning},
		{"running", stop, agent.SchedulerEnding},
		{"running", evict, agent.SchedulerEnding},
		{"complete", run, agent.SchedulerEnded},
		{"complete", stop, agent.SchedulerEnded},
		{"complete", evict, agent.SchedulerEnded},
		{"failed", run, agent.SchedulerEnded},
		{"failed", stop, agent.SchedulerEnded},
		{"failed", evict, agent.SchedulerEnded},
		{"lost", run, agent.SchedulerEnded},
		{"lost", stop, agent.SchedulerEnded},
		{"lost", evict, agent.SchedulerEnded},
		{"unknown", run, agent.SchedulerUnknown},
		{"unknown", stop, agent.SchedulerUnknown},
		{"a new word", run, agent.SchedulerUnknown},
		{"running", "a new word", agent.SchedulerUnknown},
		{"complete", "", agent.SchedulerUnknown},
		{"", "", agent.SchedulerUnknown},
	} {
		got := allocState(&api.AllocationListStub{ClientStatus: c.client, DesiredStatus: c.desired})
		require.Equal(t, c.want, got, "%s, desired %s", c.client, c.desired)
	}
}

func TestEveryJobAndEvaluationStatusWithoutAnAllocationHasAState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		job     string
		stopped bool
		evals   []string
		want    agent.SchedulerState
	}{
		{"pending", false, nil, agent.SchedulerQueued},
		{"pending", false, []string{"pending"}, agent.SchedulerQueued},
		{"pending", false, []string{"blocked"}, agent.SchedulerQueued},
		{"pending", false, []string{"complete", "failed", "canceled"}, agent.SchedulerQueued},
		{"running", false, nil, agent.SchedulerQueued},
		{"dead", false, []string{"pending"}, agent.SchedulerQueued},
		{"dead", false, nil, agent.SchedulerGone},
		{"dead", true, nil, agent.SchedulerEnded},
		{"dead", true, []string{"blocked"}, agent.SchedulerEnded},
		{"dead", true, []string{"pending"}, agent.SchedulerEnding},
		{"pending", true, nil, agent.SchedulerEnded},
		{"a new word", false, nil, agent.SchedulerUnknown},
		{"", true, nil, agent.SchedulerUnknown},
		{"pending", false, []string{"a new word"}, agent.SchedulerUnknown},
	} {
		s := seen{status: c.job, stopped: c.stopped}
		for _, e := range c.evals {
			s.evals = append(s.evals, &api.Evaluation{Status: e})
		}
		require.Equal(t, c.want, state(s), "%+v", c)
	}
}

// task is a task that ran for a time, with events of these types; "Terminated"
// may be followed by its exit code, signal and whether memory ended it.
func task(failed bool, d time.Duration, details map[string]string, types ...string) map[string]*api.TaskState {
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := &api.TaskState{State: "dead", Failed: failed}
	for _, typ := range types {
		e := &api.TaskEvent{Type: typ}
		switch typ {
		case api.TaskStarted:
			s.StartedAt, s.FinishedAt = start, start.Add(d)
		case api.TaskTerminated:
			e.Details = details
		}
		s.Events = append(s.Events, e)
	}
	return map[string]*api.TaskState{taskName: s}
}

func TestEveryEndOfATaskHasAnOutcome(t *testing.T) {
	t.Parallel()
	const limit = time.Minute
	code := func(c, s string) map[string]string {
		return map[string]string{"exit_code": c, "signal": s, "oom_killed": "false"}
	}
	for _, c := range []struct {
		name  string
		alloc api.AllocationListStub
		want  broker.Outcome
		exit  int
	}{
		{"exit 0", api.AllocationListStub{ClientStatus: "complete", TaskStates: task(false, 1, code("0", "0"), "Started", "Terminated")}, broker.OutcomeOK, 0},
		{"exit 0, deregistered afterwards", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "stop", TaskStates: task(false, 1, code("0", "0"), "Started", "Terminated", "Killing", "Killed")}, broker.OutcomeOK, 0},
		{"exit 7", api.AllocationListStub{ClientStatus: "failed", TaskStates: task(true, 1, code("7", "0"), "Started", "Terminated", "Not Restarting")}, broker.OutcomeExit, 7},
		{"a signal", api.AllocationListStub{ClientStatus: "failed", TaskStates: task(true, 1, code("0", "9"), "Started", "Terminated")}, broker.OutcomeExit, 137},
		{"out of memory", api.AllocationListStub{ClientStatus: "failed", TaskStates: task(true, 1, map[string]string{"exit_code": "137", "signal": "9", "oom_killed": "true"}, "Started", "Terminated")}, broker.OutcomeOOM, 137},
		{"cancelled", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "stop", TaskStates: task(false, 1, code("0", "0"), "Started", "Killing", "Terminated", "Killed")}, broker.OutcomeCancelled, 0},
		{"cancelled, events cut", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "stop", TaskStates: task(false, 1, code("0", "0"), "Started", "Killing")}, broker.OutcomeCancelled, 0},
		{"over its walltime", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "stop", TaskStates: task(false, limit, code("137", "9"), "Started", "Killing", "Terminated", "Killed")}, broker.OutcomeWalltime, 137},
		{"preempted", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "evict", TaskStates: task(false, 1, code("137", "9"), "Started", "Killing", "Terminated", "Killed")}, broker.OutcomePreempted, 137},
		{"preempted by an allocation", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "stop", PreemptedByAllocation: "x", TaskStates: task(false, 1, nil, "Started", "Killing")}, broker.OutcomePreempted, 0},
		{"preempted before it started", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "evict"}, broker.OutcomePreempted, 0},
		{"drained", api.AllocationListStub{ClientStatus: "complete", DesiredStatus: "stop", DesiredDescription: migrated, TaskStates: task(false, 1, nil, "Started", "Killing", "Killed")}, broker.OutcomePreempted, 0},
		{"an operator restarted it", api.AllocationListStub{ClientStatus: "running", DesiredStatus: "run", TaskStates: task(false, 1, code("0", "15"), "Started", "Restart Signaled", "Terminated", "Restarting", "Started")}, broker.OutcomePreempted, 0},
		{"its node was lost", api.AllocationListStub{ClientStatus: "lost", DesiredStatus: "stop", TaskStates: task(false, 1, nil, "Started")}, broker.OutcomeNodeFail, 0},
		{"the driver failed", api.AllocationListStub{ClientStatus: "failed", TaskStates: task(true, 0, nil, "Received", "Task Setup", "Driver Failure", "Not Restarting")}, broker.OutcomeLaunchFailed, 0},
		{"its set-up failed", api.AllocationListStub{ClientStatus: "failed", TaskStates: task(true, 0, nil, "Received", "Setup Failure")}, broker.OutcomeLaunchFailed, 0},
		{"it was not valid", api.AllocationListStub{ClientStatus: "failed", TaskStates: task(true, 0, nil, "Failed Validation")}, broker.OutcomeLaunchFailed, 0},
		{"no task", api.AllocationListStub{ClientStatus: "failed", DesiredStatus: "run"}, broker.OutcomeLaunchFailed, 0},
		{"nobody says how", api.AllocationListStub{ClientStatus: "complete", TaskStates: task(false, 1, nil, "Started")}, broker.OutcomeLost, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, exit := outcome(seen{allocs: []*api.AllocationListStub{&c.alloc}}, 0, limit)
			require.Equal(t, c.want, got)
			require.Equal(t, c.exit, exit)
		})
	}
	got, _ := outcome(seen{stopped: true}, 1, limit)
	require.Equal(t, broker.OutcomeCancelled, got, "it never was placed")
}

func TestAReplacementIsEndedBeforeItsLaunchIsReportedAsEnded(t *testing.T) {
	t.Parallel()
	lost := &api.AllocationListStub{ID: "first", ClientStatus: "lost", DesiredStatus: "stop", CreateIndex: 5}
	again := &api.AllocationListStub{ID: "again", ClientStatus: "running", DesiredStatus: "run", CreateIndex: 9}
	s := seen{status: "running", allocs: []*api.AllocationListStub{again, lost}}
	require.Equal(t, "first", s.first().ID)
	require.Equal(t, agent.SchedulerEnding, state(s))
	again.ClientStatus, again.DesiredStatus = "complete", "stop"
	require.Equal(t, agent.SchedulerEnding, state(s), "another one could come")
	s.stopped = true
	s.evals = []*api.Evaluation{{Status: "pending"}}
	require.Equal(t, agent.SchedulerEnding, state(s), "or be under way")
	s.evals = nil
	require.Equal(t, agent.SchedulerEnded, state(s))
}

func TestUsageAddsUpEveryAllocation(t *testing.T) {
	t.Parallel()
	alloc := func(d time.Duration, gpus ...string) *api.AllocationListStub {
		return &api.AllocationListStub{
			ClientStatus: "complete", DesiredStatus: "run", TaskStates: task(false, d, nil, "Started", "Terminated"),
			AllocatedResources: &api.AllocatedResources{Tasks: map[string]*api.AllocatedTaskResources{taskName: {
				Cpu:     api.AllocatedCpuResources{CpuShares: 2000},
				Devices: []*api.AllocatedDeviceResource{{Vendor: "nvidia", Type: "gpu", Name: "H100", DeviceIDs: gpus}, {Type: "fpga", DeviceIDs: []string{"x"}}},
			}}},
		}
	}
	u, err := usage(seen{stopped: true, allocs: []*api.AllocationListStub{alloc(1500*time.Millisecond, "a", "b"), alloc(10*time.Second, "a")}}, 1000)
	require.NoError(t, err)
	require.Equal(t, broker.Usage{GPUSeconds: 2*2 + 10, CPUSeconds: 2 * 12, Elapsed: 12 * time.Second, Method: "nomad"}, u)

	lost := alloc(0, "a")
	lost.ClientStatus = "lost"
	ts := lost.TaskStates[taskName]
	ts.FinishedAt = time.Time{}
	lost.ModifyTime = ts.StartedAt.Add(90 * time.Second).UnixNano()
	u, err = usage(seen{stopped: true, allocs: []*api.AllocationListStub{lost}}, 1000)
	require.NoError(t, err)
	require.Equal(t, int64(90), u.GPUSeconds, "until Nomad noticed")

	_, err = usage(seen{status: "running", allocs: []*api.AllocationListStub{{ClientStatus: "running", DesiredStatus: "run"}}}, 1000)
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
}

func TestWhyALaunchWaitsIsSaidInNomadsWords(t *testing.T) {
	t.Parallel()
	metric := func(m api.AllocationMetric) []*api.Evaluation {
		return []*api.Evaluation{{Status: "blocked", StatusDescription: "created to place remaining allocations", FailedTGAllocs: map[string]*api.AllocationMetric{groupName: &m}}}
	}
	for want, s := range map[string]seen{
		"waiting for an evaluation": {},
		"evaluation pending":        {evals: []*api.Evaluation{{Status: "pending"}}},
		"blocked: devices: no devices match request on 2 nodes exhausted": {evals: metric(api.AllocationMetric{DimensionExhausted: map[string]int{"devices: no devices match request": 2}})},
		"blocked: missing devices on 1 node filtered; memory on 3 nodes exhausted": {evals: metric(api.AllocationMetric{
			ConstraintFiltered: map[string]int{"missing devices": 1}, DimensionExhausted: map[string]int{"memory": 3},
		})},
		"blocked: no node is eligible":                         {evals: metric(api.AllocationMetric{})},
		"blocked: quota exhausted: a, b":                       {evals: metric(api.AllocationMetric{QuotaExhausted: []string{"a", "b"}})},
		"blocked: created to place remaining allocations":      {evals: metric(api.AllocationMetric{NodesEvaluated: 1})},
		"placed, not started yet":                              {allocs: []*api.AllocationListStub{{}}},
		"placed: Building Task Directory":                      {allocs: []*api.AllocationListStub{{TaskStates: map[string]*api.TaskState{taskName: {Events: []*api.TaskEvent{{DisplayMessage: "Building Task Directory"}}}}}}},
		"blocked: nobody says why, but there is a description": {evals: []*api.Evaluation{{Status: "blocked", StatusDescription: "nobody says why, but there is a description"}}},
	} {
		w := waiting(s)
		require.Equal(t, want, w.Words)
		require.True(t, w.Code.Known(), want)
	}
}

func TestEveryCauseOfABlockedEvaluationHasACode(t *testing.T) {
	t.Parallel()
	one := func(k string) map[string]int { return map[string]int{k: 1} }
	for name, c := range map[string]struct {
		m    *api.AllocationMetric
		eval api.Evaluation
		want broker.WaitCode
	}{
		"GPUs in use":          {m: &api.AllocationMetric{NodesEvaluated: 1, NodesExhausted: 1, DimensionExhausted: one("devices: no devices match request")}, want: broker.WaitResources},
		"memory in use":        {m: &api.AllocationMetric{NodesEvaluated: 1, NodesExhausted: 1, DimensionExhausted: one("memory")}, want: broker.WaitResources},
		"a class in use":       {m: &api.AllocationMetric{NodesEvaluated: 1, ClassExhausted: one("big")}, want: broker.WaitResources},
		"in use and not there": {m: &api.AllocationMetric{NodesEvaluated: 2, DimensionExhausted: one("cpu"), ConstraintFiltered: one("missing devices")}, want: broker.WaitResources},
		"no healthy GPUs":      {m: &api.AllocationMetric{NodesEvaluated: 1, NodesFiltered: 1, ConstraintFiltered: one("missing devices")}, want: broker.WaitGPUsUnavailable},
		"no driver":            {m: &api.AllocationMetric{NodesEvaluated: 1, NodesFiltered: 1, ConstraintFiltered: one("missing drivers")}, want: broker.WaitNodeUnavailable},
		"a constraint":         {m: &api.AllocationMetric{NodesEvaluated: 1, ConstraintFiltered: one("${attr.kernel.name} = windows")}, want: broker.WaitNodeUnavailable},
		"a class filtered":     {m: &api.AllocationMetric{NodesEvaluated: 1, ClassFiltered: one("big")}, want: broker.WaitNodeUnavailable},
		"an empty pool":        {m: &api.AllocationMetric{NodesAvailable: map[string]int{"dc1": 0}}, want: broker.WaitNodeUnavailable},
		"held":                 {m: &api.AllocationMetric{NodesEvaluated: 1, NodesFiltered: 1, ConstraintFiltered: one("${node.unique.name} = held")}, want: broker.WaitHeld},
		"a quota":              {m: &api.AllocationMetric{NodesEvaluated: 1, QuotaExhausted: []string{"gpu"}}, want: broker.WaitLimitAccount},
		"a quota reached":      {eval: api.Evaluation{QuotaLimitReached: "gpu"}, want: broker.WaitLimitAccount},
		"others came first":    {eval: api.Evaluation{TriggeredBy: "max-plan-attempts"}, want: broker.WaitPriority},
		"nobody says":          {m: &api.AllocationMetric{NodesEvaluated: 1}, want: broker.WaitUnknown},
		"nothing at all":       {want: broker.WaitUnknown},
	} {
		e := c.eval
		e.Status = api.EvalStatusBlocked
		if c.m != nil {
			e.FailedTGAllocs = map[string]*api.AllocationMetric{groupName: c.m}
		}
		require.Equal(t, c.want, waiting(seen{evals: []*api.Evaluation{&e}}).Code, name)
	}
}
