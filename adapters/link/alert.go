package link

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// maxAlerts bounds how many alerts the agent's folder keeps. What the broker
// has recorded goes first; when nothing of it is left, new kinds of refusals
// are counted together.
const maxAlerts = 1000

// codeOverflow is the code of refusals that found no room of their own.
const codeOverflow = "alerts_overflow"

// writeEvery is how often alerts are written at most, so that a flood of
// refused messages is no flood of writes.
const writeEvery = 100 * time.Millisecond

// keptAlert is an alert in the agent's folder. Recorded is the count that the
// broker acknowledged.
type keptAlert struct {
	Alert    wireAlert `json:"alert"`
	Recorded int64     `json:"recorded"`
}

type alertFile struct {
	V      int         `json:"v"`
	Alerts []keptAlert `json:"alerts"`
}

// alerts are the refusals of an agent, newest last. Equal ones that the broker
// has not recorded yet are one alert with a count.
type alerts struct {
	path string
	site broker.SiteID
	now  func() time.Time

	mu      sync.Mutex
	kept    []*keptAlert
	counts  map[string]uint64 // by code, since the process began
	dirty   bool
	written time.Time
}

func openAlerts(path string, site broker.SiteID, now func() time.Time) (*alerts, error) {
	a := &alerts{path: path, site: site, now: now, counts: map[string]uint64{}}
	b, err := os.ReadFile(path) //nolint:gosec // the agent's own folder
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	var f alertFile
	if err == nil {
		err = json.Unmarshal(b, &f, json.RejectUnknownMembers(true))
	}
	if err == nil && f.V != 1 {
		err = fmt.Errorf("version %d", f.V)
	}
	if err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	for _, k := range f.Alerts {
		if _, err := k.Alert.alert(site); err != nil {
			return nil, fmt.Errorf("read the alerts: %w", err)
		}
		a.kept = append(a.kept, &k)
	}
	return a, nil
}

// raise counts a refusal and keeps it.
func (a *alerts) raise(al broker.SiteAlert) error {
	now := a.now().UTC().Truncate(time.Microsecond)
	al.Detail = clean(al.Detail)
	for _, s := range []*string{&al.Method, &al.Key} {
		if !validName(*s) {
			*s = ""
		}
	}
	if !validName(string(al.Attempt)) {
		al.Attempt = ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[al.Code]++
	a.dirty = true
	if k := a.open(al); k != nil {
		k.Alert.Count++
		k.Alert.Last = stamp(now)
	} else if a.room() {
		al.ID, al.Count, al.First, al.Last = broker.NewID[broker.AlertID]("alr"), 1, now, now
		a.kept = append(a.kept, &keptAlert{Alert: newWireAlert(al)})
	} else {
		a.overflow(now)
	}
	if now.Sub(a.written) < writeEvery && !now.Before(a.written) {
		return nil // flush writes it
	}
	return a.write(now)
}

// open finds an alert of the same kind that the broker has not recorded whole.
func (a *alerts) open(al broker.SiteAlert) *keptAlert {
	for _, k := range slices.Backward(a.kept) {
		w := k.Alert
		if w.Count > k.Recorded && w.Code == al.Code && w.Method == al.Method && w.Key == al.Key {
			return k
		}
	}
	return nil
}

// room makes room for one more alert, if it can. One place stays free for the
// overflow.
func (a *alerts) room() bool {
	if len(a.kept) < maxAlerts-1 {
		return true
	}
	i := slices.IndexFunc(a.kept, func(k *keptAlert) bool { return k.Recorded >= k.Alert.Count })
	if i < 0 {
		return false
	}
	a.kept = slices.Delete(a.kept, i, i+1)
	return true
}

func (a *alerts) overflow(now time.Time) {
	if k := a.open(broker.SiteAlert{Code: codeOverflow}); k != nil {
		k.Alert.Count++
		k.Alert.Last = stamp(now)
		return
	}
	a.kept = append(a.kept, &keptAlert{Alert: newWireAlert(broker.SiteAlert{
		ID: broker.NewID[broker.AlertID]("alr"), Code: codeOverflow, Count: 1, First: now, Last: now,
		Detail: "refusals of more kinds than alerts are kept",
	})})
}

// pending returns the oldest alerts that the broker has not recorded, and how
// many there are in all.
func (a *alerts) pending(limit int) (out []wireAlert, all int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kept {
		if k.Alert.Count > k.Recorded {
			if all++; len(out) < limit {
				out = append(out, k.Alert)
			}
		}
	}
	return out, all
}

// acknowledge takes down what the broker has recorded.
func (a *alerts) acknowledge(rs []recorded) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range rs {
		for _, k := range a.kept {
			if k.Alert.ID == r.ID && r.Count > k.Recorded && r.Count <= k.Alert.Count {
				k.Recorded, a.dirty = r.Count, true
			}
		}
	}
	return a.write(a.now())
}

// flush writes what is not written yet.
func (a *alerts) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.write(a.now())
}

// write replaces the file. Callers hold mu.
func (a *alerts) write(now time.Time) error {
	if !a.dirty {
		return nil
	}
	f := alertFile{V: 1}
	for _, k := range a.kept {
		f.Alerts = append(f.Alerts, *k)
	}
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write the alerts: %w", err)
	}
	if err := replaceFile(a.path, b); err != nil {
		return fmt.Errorf("write the alerts: %w", err)
	}
	a.dirty, a.written = false, now
	return nil
}

// list returns every alert that is kept, oldest first.
func (a *alerts) list() []broker.SiteAlert {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]broker.SiteAlert, 0, len(a.kept))
	for _, k := range a.kept {
		if al, err := k.Alert.alert(a.site); err == nil {
			out = append(out, al)
		}
	}
	return out
}

func (a *alerts) refused() map[string]uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

// replaceFile replaces a file and returns when name and bytes are on the disk.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}
