package wire_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

// fill gives each field below v a value of its own.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() { //nolint:exhaustive // the kinds that nouns are made of; default panics
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(*n, 0).UTC()))
			return
		}
		for _, f := range v.Fields() {
			fill(f, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k").Convert(v.Type().Key()), reflect.ValueOf("v").Convert(v.Type().Elem()))
	case reflect.String:
		v.SetString("s" + strconv.FormatInt(*n, 10))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			v.SetInt(*n * int64(time.Second))
		} else {
			v.SetInt(*n)
		}
	default:
		panic("a kind of field that this walk does not know: " + v.Kind().String())
	}
}

func TestAJobSpecSurvivesTheJourneyFieldByField(t *testing.T) {
	t.Parallel()
	var s broker.JobSpec
	n := int64(100)
	fill(reflect.ValueOf(&s).Elem(), &n)
	b, err := json.Marshal(wire.NewJobSpec(s))
	require.NoError(t, err)
	var w wire.JobSpec
	require.NoError(t, json.Unmarshal(b, &w))
	require.Equal(t, s, w.Noun())
}

func TestASiteSurvivesTheJourneyForOperators(t *testing.T) {
	t.Parallel()
	var s broker.Site
	n := int64(100)
	fill(reflect.ValueOf(&s).Elem(), &n)
	got := wire.NewSite(s, "x", true).Noun()
	got.CreatedAt, got.Operation = s.CreatedAt, s.Operation // the broker's to give
	require.Equal(t, s, got)
}

func TestEveryKindSurvivesAsAProblem(t *testing.T) {
	t.Parallel()
	for _, k := range []broker.Kind{
		broker.KindInvalid, broker.KindUnauthenticated, broker.KindForbidden, broker.KindNotFound, broker.KindConflict,
		broker.KindNotAdmitted, broker.KindQuota, broker.KindUnavailable,
	} {
		e := &broker.Error{
			Kind: k, Code: "c", Message: "m", Rule: "r", Value: "v", Help: "h", Who: "w", Decision: "dec_1",
			Reasons: []broker.Reason{{Code: "x", Basis: "contract", Path: "job", Params: map[string]string{"a": "b"}}},
		}
		require.Equal(t, e, wire.ProblemOf(e, "req_1").Err(), "%s", k)
		require.NotEmpty(t, wire.Title(k))
	}
	require.Equal(t, broker.KindInternal, broker.KindOf(wire.ProblemOf(errors.New("pq: boom"), "").Err()))
	require.Equal(t, broker.KindInternal, broker.KindOf(wire.Problem{Type: "about:blank"}.Err()))
	fields := &wire.FieldsError{Fields: []wire.FieldError{{Field: "a", Reason: "b"}}, Err: &broker.Error{Kind: broker.KindInvalid, Code: "c"}}
	require.Equal(t, fields, wire.ProblemOf(fields, "").Err())
}

func TestALossThatDivergedTravels(t *testing.T) {
	t.Parallel()
	for text, v := range map[string]float64{"NaN": math.NaN(), "+Inf": math.Inf(1), "-Inf": math.Inf(-1)} {
		b, err := json.Marshal(wire.NewEvent(broker.Event{Kind: broker.EventMetric, Name: "loss", Value: v}))
		require.NoError(t, err)
		require.Contains(t, string(b), `"text":"`+text+`"`)
	}
}
