package work

import (
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"
)

// BeatObject is the ConfigMap that is written to.
const BeatObject = "beat"

// One call ends before a controller's timeout for calls would come, as the plugin's does.
const beatsPerCall = 400

var number atomic.Int64

// BeatFor writes until the context ends or a call's share is done. The write carries no precondition, so that the API
// server refuses none for being late.
func BeatFor(ctx context.Context, s Settings, patch func(context.Context, []byte) error) error {
	ticks := time.NewTicker(s.Every)
	defer ticks.Stop()
	for range beatsPerCall {
		annotations := map[string]string{"beat/by": s.Identity, "beat/number": strconv.FormatInt(number.Add(1), 10)}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
		if err != nil {
			return err
		}
		if err := patch(ctx, body); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
	return nil
}
