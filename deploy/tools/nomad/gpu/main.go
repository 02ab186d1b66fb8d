// Command gpu is a Nomad device plugin that shows emulated GPUs: no hardware,
// no driver. Its file of unhealthy ids, read again each second, takes GPUs away
// and gives them back while the agent runs.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/device"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// settings are the plugin's block in the agent's configuration.
type settings struct {
	Model     string `codec:"model"`
	Count     int    `codec:"count"`
	Unhealthy string `codec:"unhealthy"`
}

// gpus is the plugin.
type gpus struct{ settings }

// PluginInfo names the plugin; the file that holds it has the same name.
func (g *gpus) PluginInfo() (*base.PluginInfoResponse, error) {
	return &base.PluginInfoResponse{
		Type: base.PluginTypeDevice, PluginApiVersions: []string{device.ApiVersion010}, PluginVersion: "v1.0.0", Name: "gpu",
	}, nil
}

// ConfigSchema says what settings there are.
func (g *gpus) ConfigSchema() (*hclspec.Spec, error) {
	return hclspec.NewObject(map[string]*hclspec.Spec{
		"model":     hclspec.NewAttr("model", "string", true),
		"count":     hclspec.NewAttr("count", "number", true),
		"unhealthy": hclspec.NewAttr("unhealthy", "string", true),
	}), nil
}

// SetConfig takes the settings.
func (g *gpus) SetConfig(c *base.Config) error {
	if len(c.PluginConfig) == 0 {
		return nil
	}
	return base.MsgPackDecode(c.PluginConfig, &g.settings)
}

// group lists every GPU with its health.
func (g *gpus) group(unhealthy []string) *device.DeviceGroup {
	d := &device.DeviceGroup{Vendor: "valico", Type: device.DeviceTypeGPU, Name: g.Model}
	for i := range g.Count {
		id := fmt.Sprintf("emulated-%d", i)
		d.Devices = append(d.Devices, &device.Device{ID: id, Healthy: !slices.Contains(unhealthy, id)})
	}
	return d
}

// Fingerprint sends the GPUs, and again whenever the file changed.
func (g *gpus) Fingerprint(ctx context.Context) (<-chan *device.FingerprintResponse, error) {
	ch := make(chan *device.FingerprintResponse)
	go func() {
		defer close(ch)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		last := "none sent"
		for {
			b, _ := os.ReadFile(g.Unhealthy) // no file: all are healthy
			if string(b) != last {
				last = string(b)
				select {
				case ch <- device.NewFingerprint(g.group(strings.Fields(last))):
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch, nil
}

// Reserve tells a task which GPUs are its own.
func (g *gpus) Reserve(ids []string) (*device.ContainerReservation, error) {
	return &device.ContainerReservation{Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(ids, ",")}}, nil
}

// Stats says nothing: nobody measures emulated GPUs.
func (g *gpus) Stats(ctx context.Context, _ time.Duration) (<-chan *device.StatsResponse, error) {
	ch := make(chan *device.StatsResponse)
	go func() {
		<-ctx.Done()
		close(ch)
	}()
	return ch, nil
}

func main() {
	plugins.Serve(func(hclog.Logger) any { return &gpus{} })
}
