package slurm

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decode reads a whole answer: unknown fields pass, wrong types and duplicate
// names do not. Text that is not UTF-8 passes, since any user's job name is in
// the lists and would hide all jobs.
func decode(b []byte, v any) error {
	return json.Unmarshal(b, v, jsontext.AllowInvalidUTF8(true)) //nolint:wrapcheck // every caller names its operation
}

// answer reads a whole answer from a stream.
func answer(v any) func(io.Reader) error {
	return func(r io.Reader) error {
		return json.UnmarshalRead(r, v, jsontext.AllowInvalidUTF8(true)) //nolint:wrapcheck // do names the operation
	}
}

// Number is Slurm's number with "unset" and "infinite". It reads the object
// form {"set","infinite","number"} and a plain number; null is unset.
type Number struct {
	Set, Infinite bool
	N             int64
}

// Value returns the number when it is set and finite.
func (n Number) Value() (int64, bool) { return n.N, n.Set && !n.Infinite }

// UnmarshalJSONFrom reads both forms.
func (n *Number) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*n = Number{}
	k := d.PeekKind()
	if k == '{' {
		var o struct {
			Set      bool    `json:"set"`
			Infinite bool    `json:"infinite"`
			Number   integer `json:"number"`
		}
		if err := json.UnmarshalDecode(d, &o); err != nil {
			return err //nolint:wrapcheck // the decoder names the place
		}
		*n = Number{Set: o.Set, Infinite: o.Infinite, N: int64(o.Number)}
		return nil
	}
	if k == '0' {
		var i integer
		if err := json.UnmarshalDecode(d, &i); err != nil {
			return err //nolint:wrapcheck // the decoder names the place
		}
		*n = Number{Set: true, N: int64(i)}
		return nil
	}
	if k == 'n' {
		return d.SkipValue() //nolint:wrapcheck // the decoder names the place
	}
	return errors.New("neither a number nor an object with a number")
}

// integer is a JSON number that is whole; some are written as 1.0.
type integer int64

func (i *integer) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err //nolint:wrapcheck // the decoder names the place
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		*i = integer(n)
		return nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f != float64(int64(f)) || f > 1<<53 || f < -1<<53 {
		return fmt.Errorf("%.40s is not a whole number", v)
	}
	*i = integer(f)
	return nil
}

// words reads a string, an array of strings, or null.
type words []string

func (w *words) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*w = nil
	k := d.PeekKind()
	if k == '"' {
		var s string
		if err := json.UnmarshalDecode(d, &s); err != nil {
			return err //nolint:wrapcheck // the decoder names the place
		}
		*w = words{s}
		return nil
	}
	if k == '[' {
		var a []string
		if err := json.UnmarshalDecode(d, &a); err != nil {
			return err //nolint:wrapcheck // the decoder names the place
		}
		*w = a
		return nil
	}
	if k == 'n' {
		return d.SkipValue() //nolint:wrapcheck // the decoder names the place
	}
	return errors.New("neither a string nor an array of strings")
}

// JobID is the number of a job, above zero. It is a number by type, so that
// nothing else can become part of a path.
type JobID uint32

// String is the number in digits.
func (id JobID) String() string { return strconv.FormatUint(uint64(id), 10) }

// ParseJobID reads digits and nothing else: no sign, space, array or
// heterogeneous suffix.
func ParseJobID(s string) (JobID, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || s[0] == '0' || s[0] == '+' {
		return 0, fmt.Errorf("slurm: %.40q is not a job id", s)
	}
	return JobID(n), nil
}
