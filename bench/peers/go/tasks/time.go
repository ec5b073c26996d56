// time - timers that are armed and disarmed, and time-outs around nothing.
package main

import (
	"context"
	"runtime"
	"time"
)

const hour = time.Hour

// Go takes a stopped timer out of its heap later, when it next looks for work: so it looks once
// more before the watch stops.
func timers(count int, w *watch) int64 {
	armed := make([]*time.Timer, count)
	nothing := func() {}
	w.start()
	for i := range armed {
		armed[i] = time.AfterFunc(hour, nothing)
	}
	for i, timer := range armed {
		if i%100 != 0 && !timer.Stop() {
			panic("a timer was not armed")
		}
	}
	runtime.Gosched()
	w.stop()
	var left int64
	for _, timer := range armed {
		if timer.Stop() {
			left++
		}
	}
	return left
}

func timeoutScope(count int, w *watch) int64 {
	var inTime int64
	w.start()
	for i := 0; i < count; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), hour)
		if ctx.Err() == nil {
			inTime++
		}
		cancel()
	}
	w.stop()
	return inTime
}
