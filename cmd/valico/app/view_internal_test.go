package app

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// P10: a field of the OCI image config that could change what runs must reach
// policy. Each gets a value of its own and must be found in the view; the
// exemptions say why a field cannot matter.
func TestEveryFieldOfAnImageConfigIsPolicyInput(t *testing.T) {
	t.Parallel()
	exempt := map[string]string{
		"Image.Created":     "a date; it changes nothing that runs",
		"Image.History":     "text about how layers came to be; the layers themselves are input",
		"Image.RootFS.Type": "the image specification knows one value, layers",
	}
	var img ocispec.Image
	marks := map[string]string{}
	n := 100
	mark(reflect.ValueOf(&img).Elem(), "Image", &n, marks, exempt)
	require.Greater(t, len(marks), 14)
	b, err := json.Marshal(configView(img))
	require.NoError(t, err)
	for path, want := range marks {
		require.Contains(t, string(b), want, "%s does not reach policy", path)
	}
}

func mark(v reflect.Value, path string, n *int, marks, exempt map[string]string) {
	if exempt[path] != "" {
		return
	}
	*n++
	word := fmt.Sprintf("mark-%d-", *n)
	switch {
	case v.Type() == reflect.TypeFor[digest.Digest]():
		d := digest.FromString(word)
		v.SetString(d.String())
		marks[path] = d.String()
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name := path + "." + f.Name
			if f.Anonymous {
				name = path
			}
			mark(v.Field(i), name, n, marks, exempt)
		}
	case v.Kind() == reflect.String:
		v.SetString(word)
		marks[path] = word
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
		marks[path] = ":true"
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		mark(v.Index(0), path+"[0]", n, marks, exempt)
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key := reflect.New(v.Type().Key()).Elem()
		key.SetString(strings.ToUpper(word))
		val := reflect.New(v.Type().Elem()).Elem()
		mark(val, path+"[]", n, marks, exempt)
		v.SetMapIndex(key, val)
		marks[path] = strings.ToUpper(word)
	default:
		panic("a kind of field that this walk does not know: " + path)
	}
}
