// cancel - sleeping goroutines, cancelled one by one.
package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// True: it was cancelled.
func sleep(ctx context.Context) bool {
	timer := time.NewTimer(hour)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-ctx.Done():
		return true
	}
}

func cancelJoin(count int, w *watch) int64 {
	cancels := make([]context.CancelFunc, count)
	var cancelled atomic.Int64
	var ready, group sync.WaitGroup
	ready.Add(count)
	group.Add(count)
	for i := range cancels {
		var ctx context.Context
		ctx, cancels[i] = context.WithCancel(context.Background())
		go func() {
			defer group.Done()
			ready.Done()
			if sleep(ctx) {
				cancelled.Add(1)
			}
		}()
	}
	settle(&ready)
	w.start()
	for _, cancel := range cancels {
		cancel()
	}
	group.Wait()
	w.stop()
	return cancelled.Load()
}
