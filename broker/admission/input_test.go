package admission_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
	"github.com/valico-hpc/valico/policy"
)

// P10: whatever field a submitter can set reaches policy. Each leaf of the job
// spec gets a value of its own, and each value must stand in the input; a field
// added to JobSpec and forgotten in Input fails here.
func TestEveryFieldOfAJobSpecIsPolicyInput(t *testing.T) {
	t.Parallel()
	var spec broker.JobSpec
	marks := map[string]string{} // field path → what must stand in the JSON
	n := int64(7000)
	fill(reflect.ValueOf(&spec).Elem(), "JobSpec", &n, marks)
	require.Greater(t, len(marks), 25, "the walk found the fields")
	in, err := json.Marshal(admission.Input(admission.Facts{Moment: policy.MomentAdmission, Now: time.Now(), Spec: spec}).Job)
	require.NoError(t, err)
	for path, mark := range marks {
		require.Contains(t, string(in), mark, "%s is not policy input", path)
	}
}

// fill gives each leaf below v a value that occurs nowhere else.
func fill(v reflect.Value, path string, n *int64, marks map[string]string) {
	*n++
	switch v.Kind() { //nolint:exhaustive // the others panic
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name, n, marks)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), path+"[0]", n, marks)
	case reflect.String:
		mark := fmt.Sprintf("mark-%d-", *n)
		v.SetString(mark)
		marks[path] = mark
	case reflect.Int, reflect.Int64:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			v.SetInt(*n * int64(time.Second))
		} else {
			v.SetInt(*n)
		}
		marks[path] = fmt.Sprintf(":%d", *n)
	default:
		panic("a kind of field that this walk does not know: " + path + " " + v.Kind().String())
	}
}

func TestOnlyRegistryEntriesOfTheDatasetsAskedForAreInput(t *testing.T) {
	t.Parallel()
	site := broker.Site{Datasets: []broker.Dataset{
		{PURI: "https://x.example/a", Version: "1", Path: "/secret/path/a"},
		{PURI: "https://x.example/a", Version: "2", Path: "/secret/path/b"},
		{PURI: "https://x.example/ab", Version: "1"},
	}}
	f := admission.Facts{Site: site, Spec: broker.JobSpec{Datasets: []broker.DatasetUse{{PURI: "https://x.example/a", Version: "2"}}}}
	in := admission.Input(f)
	require.Len(t, in.Site.Datasets, 1)
	require.Equal(t, "2", in.Site.Datasets[0].Version)
	b, err := json.Marshal(in)
	require.NoError(t, err)
	require.False(t, strings.Contains(string(b), "/secret"), "a site's paths stay at the site")
}

func TestAJobsOwnReservationDoesNotCountAgainstItsClearance(t *testing.T) {
	t.Parallel()
	f := admission.Facts{
		Spec: broker.JobSpec{Resources: broker.Resources{Nodes: 1, GPUsPerNode: 1, GPUType: "h100", Walltime: time.Minute}},
		Allocation: broker.Allocation{
			ID: "alc_1", GPUSeconds: 100, Reserved: 90, Used: 5, MaxGPUs: 4, OpenGPUs: 3, MaxJobs: 2, OpenJobs: 2,
			Weights: map[string]broker.Weight{"h100": 9000}, // raised since
		},
		Permit: admission.PermitFacts{GPUSecondsUsed: 65},
		Held:   broker.Reservation{ID: "res_1", Allocation: "alc_1", GPUSeconds: 90, Unweighted: 60, Weight: 1500, GPUs: 1},
	}
	in := admission.Input(f)
	require.Equal(t, int64(95), in.Budget.Available)
	require.Equal(t, int64(90), in.Budget.Needed, "at the weight that it was reserved with")
	require.Equal(t, int64(1500), in.Budget.Weight)
	require.Equal(t, int64(60), in.Budget.GPUSeconds)
	require.Equal(t, 2, in.Budget.OpenGPUs)
	require.Equal(t, 1, in.Budget.OpenJobs)
	require.Equal(t, int64(5), in.Permits[0].GPUSecondsUsed, "a permit counts GPU-seconds, whatever they cost")
}

func TestAJobThatTakesAnyGPUIsChargedTheDearest(t *testing.T) {
	t.Parallel()
	f := admission.Facts{
		Spec: broker.JobSpec{Resources: broker.Resources{Nodes: 1, GPUsPerNode: 2, Walltime: time.Minute}},
		Site: broker.Site{GPUs: []broker.GPUType{{Name: "h100"}, {Name: "a100"}, {Name: "l4"}}},
		Allocation: broker.Allocation{
			ID: "alc_1", Weights: map[string]broker.Weight{"h100": 1501, "l4": 250, "elsewhere": 9000},
		},
	}
	require.Equal(t, int64(1501), admission.Input(f).Budget.Weight)
	require.Equal(t, int64(181), admission.Input(f).Budget.Needed, "180.12, rounded up")
	f.Spec.Resources.GPUType = "l4"
	require.Equal(t, int64(30), admission.Input(f).Budget.Needed)
	f.Spec.Resources.GPUType = "a100"
	require.Equal(t, int64(120), admission.Input(f).Budget.Needed, "a type without a weight costs what it takes")
}

func TestTheSubmittersAccountIsTheSitesOwnMapping(t *testing.T) {
	t.Parallel()
	f := admission.Facts{Site: broker.Site{Accounts: map[broker.PersonID]string{"anna@x.example": "labuser1"}}}
	f.Principal.Person.ID = "anna@x.example"
	require.Equal(t, "labuser1", admission.Input(f).Site.Account)
	f.Principal.Person.ID = "eve@x.example"
	require.Empty(t, admission.Input(f).Site.Account)
}
