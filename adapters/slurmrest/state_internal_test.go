package slurmrest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/slurm"
)

// wordsOfAPI are the states in the OpenAPI documents of every version that is
// spoken.
func wordsOfAPI(t *testing.T) []slurm.JobState {
	t.Helper()
	files, err := filepath.Glob("../../slurm/testdata/schema/*.json")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), len(slurm.Versions()))
	var out []slurm.JobState
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var doc struct {
			Job struct {
				Jobs []struct {
					State []string `json:"job_state"`
				} `json:"jobs"`
			} `json:"job"`
		}
		require.NoError(t, json.Unmarshal(b, &doc), f)
		words, ok := strings.CutPrefix(doc.Job.Jobs[0].State[0], "enum ")
		require.True(t, ok, f)
		for w := range strings.FieldsSeq(words) {
			if !slices.Contains(out, slurm.JobState(w)) {
				out = append(out, slurm.JobState(w))
			}
		}
	}
	require.Len(t, out, 28)
	return out
}

func TestEveryStateOfTheAPIIsTranslated(t *testing.T) {
	t.Parallel()
	for _, w := range wordsOfAPI(t) {
		switch w.Role() {
		case slurm.RoleWaiting, slurm.RoleActive:
			st, out := state(seen{states: []slurm.JobState{w}})
			require.NotEqual(t, agent.SchedulerUnknown, st, w)
			require.Empty(t, out, w)
		case slurm.RoleFinal:
			st, out := state(seen{states: []slurm.JobState{w}, started: true})
			require.Equal(t, agent.SchedulerEnded, st, w)
			require.NotEqual(t, broker.OutcomeLost, out, w)
			st, out = state(seen{states: []slurm.JobState{w, slurm.StateCompleting}})
			require.Equal(t, agent.SchedulerEnding, st, w)
			require.Empty(t, out, w)
		case slurm.RoleEnding, slurm.RoleRequeue, slurm.RoleFlag:
			for _, b := range []slurm.JobState{slurm.StatePending, slurm.StateRunning, slurm.StateCompleted} {
				st, _ := state(seen{states: []slurm.JobState{b, w}})
				require.NotEqual(t, agent.SchedulerUnknown, st, "%s %s", b, w)
			}
		case slurm.RoleUnknown:
			t.Fatalf("%s has no role", w)
		}
	}
}

func TestWhatWeDoNotKnowIsNeverAnEnd(t *testing.T) {
	t.Parallel()
	for _, states := range [][]slurm.JobState{
		nil, {}, {""}, {"HIBERNATED"}, {"COMPLETED", "HIBERNATED"}, {"COMPLETED", "FAILED"}, {"COMPLETING"}, {"RUNNING", "PENDING"},
	} {
		st, out := state(seen{states: states})
		require.Equal(t, agent.SchedulerUnknown, st, "%v", states)
		require.Empty(t, out)
	}
}

func TestStatusesAsSlurmReportsThem(t *testing.T) {
	t.Parallel()
	num := func(n int64) slurm.Number { return slurm.Number{Set: true, N: n} }
	for _, c := range []struct {
		in      seen
		state   agent.SchedulerState
		outcome broker.Outcome
		exit    int
		waiting broker.Waiting
	}{
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "Resources"}, state: agent.SchedulerQueued, waiting: broker.Waiting{Code: broker.WaitResources, Words: "Resources"}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "None"}, state: agent.SchedulerQueued, waiting: broker.Waiting{Code: broker.WaitNotEvaluated}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "JobHeldUser"}, state: agent.SchedulerQueued, waiting: broker.Waiting{Code: broker.WaitHeld, Words: "JobHeldUser"}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "QOSMaxGRESPerUser"}, state: agent.SchedulerQueued, waiting: broker.Waiting{Code: broker.WaitLimitQOS, Words: "QOSMaxGRESPerUser"}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "PartitionTimeLimit"}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed, waiting: broker.Waiting{Code: broker.WaitLimitPartition, Words: "PartitionTimeLimit"}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "QOSMaxWallDurationPerJobLimit"}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed, waiting: broker.Waiting{Code: broker.WaitLimitQOS, Words: "QOSMaxWallDurationPerJobLimit"}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "AssocGrpGRESMinutes"}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed, waiting: broker.Waiting{Code: broker.WaitBudgetAtSite, Words: "AssocGrpGRESMinutes"}},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "JobHeldUser", description: "launch failed requeued held"}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed, waiting: broker.Waiting{Code: broker.WaitHeld, Words: "JobHeldUser: launch failed requeued held"}},
		{in: seen{states: []slurm.JobState{"RUNNING", "CONFIGURING"}}, state: agent.SchedulerQueued, waiting: broker.Waiting{Code: broker.WaitStarting}},
		{in: seen{states: []slurm.JobState{"RUNNING"}}, state: agent.SchedulerRunning},
		{in: seen{states: []slurm.JobState{"FAILED"}, started: true, exit: slurm.ExitCode{Code: num(3)}}, state: agent.SchedulerEnded, outcome: broker.OutcomeExit, exit: 3},
		{in: seen{states: []slurm.JobState{"FAILED"}, started: true, exit: slurm.ExitCode{Code: num(0), Signal: num(9)}}, state: agent.SchedulerEnded, outcome: broker.OutcomeExit, exit: 137},
		{in: seen{states: []slurm.JobState{"FAILED"}, reason: "BadConstraints"}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed},
		{in: seen{states: []slurm.JobState{"DEADLINE"}}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed},
		{in: seen{states: []slurm.JobState{"OUT_OF_MEMORY"}, started: true}, state: agent.SchedulerEnded, outcome: broker.OutcomeOOM},
		{in: seen{states: []slurm.JobState{"NODE_FAIL"}, started: true, exit: slurm.ExitCode{Signal: num(1)}}, state: agent.SchedulerEnded, outcome: broker.OutcomeNodeFail, exit: 129},
		{in: seen{states: []slurm.JobState{"PREEMPTED"}, started: true}, state: agent.SchedulerEnded, outcome: broker.OutcomePreempted},
		{in: seen{states: []slurm.JobState{"PENDING", "COMPLETING"}, restarts: 1}, state: agent.SchedulerEnding},
		{in: seen{states: []slurm.JobState{"PENDING"}, reason: "BeginTime", restarts: 1}, state: agent.SchedulerEnded, outcome: broker.OutcomePreempted, waiting: broker.Waiting{Code: broker.WaitBeginTime, Words: "BeginTime"}},
		{in: seen{states: []slurm.JobState{"RUNNING"}, restarts: 1}, state: agent.SchedulerEnding},
		{in: seen{states: []slurm.JobState{"CANCELLED"}, started: true, restarts: 1}, state: agent.SchedulerEnded, outcome: broker.OutcomePreempted},
		{in: seen{states: []slurm.JobState{"CANCELLED"}, started: true, unrun: true}, state: agent.SchedulerEnded, outcome: broker.OutcomeLaunchFailed},
		{in: seen{states: []slurm.JobState{"CANCELLED"}, started: true, exit: slurm.ExitCode{Signal: num(15)}}, state: agent.SchedulerEnded, outcome: broker.OutcomeCancelled, exit: 143},
	} {
		st := status(&job{key: key{name: "n"}, id: 7}, c.in, -1)
		require.Equal(t, agent.Status{Name: "n", Handle: "7", State: c.state, Outcome: c.outcome, ExitCode: c.exit, Waiting: c.waiting, Granted: -1}, st)
	}
}

func TestUsageIsTheSumOverAllIncarnationsOnceTheyEnded(t *testing.T) {
	t.Parallel()
	inc := func(s string, secs, gpus int) slurm.DBJob {
		return slurm.DBJob{
			States: []slurm.JobState{slurm.JobState(s)}, Elapsed: time.Duration(secs) * time.Second,
			Allocated: slurm.TRES{"gres/gpu": int64(gpus), "gres/gpu:h100": int64(gpus), "cpu": 2},
		}
	}
	u, err := usage([]slurm.DBJob{inc("NODE_FAIL", 30, 4), inc("COMPLETED", 10, 4)})
	require.NoError(t, err)
	require.Equal(t, broker.Usage{GPUSeconds: 160, CPUSeconds: 80, Elapsed: 40 * time.Second, Method: "slurmdb"}, u)
	for _, rs := range [][]slurm.DBJob{nil, {inc("RUNNING", 5, 1)}, {inc("NODE_FAIL", 30, 4), inc("PENDING", 0, 0)}} {
		_, err := usage(rs)
		require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	}
}

func TestAnAlteredJobIsNamedByTheRuleThatItBreaks(t *testing.T) {
	t.Parallel()
	l := broker.Launch{Name: "n", Resources: broker.Resources{Nodes: 2, GPUsPerNode: 2, GPUType: "h100"}}
	good := slurm.Job{Name: "n", UserID: 5, Requested: slurm.TRES{"gres/gpu": 4, "gres/gpu:h100": 4}}
	_, ok := asAsked(good, 5, l)
	require.True(t, ok)
	for name, change := range map[string]func(*slurm.Job){
		"none":       func(j *slurm.Job) { j.Requested = slurm.TRES{"cpu": 1} },
		"fewer":      func(j *slurm.Job) { j.Requested = slurm.TRES{"gres/gpu": 2, "gres/gpu:h100": 2} },
		"other type": func(j *slurm.Job) { j.Requested = slurm.TRES{"gres/gpu": 4, "gres/gpu:a100": 4} },
		"more":       func(j *slurm.Job) { j.Requested = slurm.TRES{"gres/gpu": 8, "gres/gpu:h100": 8} },
		"requeue":    func(j *slurm.Job) { j.Requeue = true },
		"other user": func(j *slurm.Job) { j.UserID = 6 },
		"other name": func(j *slurm.Job) { j.Name = "m" },
	} {
		j := good
		change(&j)
		_, ok := asAsked(j, 5, l)
		require.False(t, ok, name)
	}
}

func TestTheScriptIsTheArgvAndNothingElse(t *testing.T) {
	t.Parallel()
	l := broker.Launch{Argv: []string{"/bin/x", "a b", "$(id)", "it's"}, Resources: broker.Resources{Nodes: 1}}
	const command = " '/bin/x' 'a b' '$(id)' 'it'\\''s'\n"
	require.Equal(t, "#!/bin/sh\nexec"+command, script(l))
	l.Resources = broker.Resources{Nodes: 3, CPUsPerNode: 2}
	require.Equal(t, "#!/bin/sh\nexec srun --nodes=3 --ntasks=3 --ntasks-per-node=1 --cpus-per-task=2 --mpi=none"+
		" --kill-on-bad-exit=1 --input=none --output=none --error=none"+command, script(l), "one launcher on each node")
}
