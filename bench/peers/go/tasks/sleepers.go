// sleepers - very many that sleep for an hour, with goroutines and without, until they are woken.
package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// What sleeps between two lines of input, and how it is all ended: it returns how many were.
var asleep = func() int64 { return 0 }

func sleepers(count int, w *watch) int64 {
	ctx, cancel := context.WithCancel(context.Background())
	var ready, group sync.WaitGroup
	var sleeping, ended atomic.Int64
	ready.Add(count)
	group.Add(count)
	w.start()
	for i := 0; i < count; i++ {
		go func() {
			defer group.Done()
			sleeping.Add(1)
			ready.Done()
			if sleep(ctx) {
				ended.Add(1)
			}
		}()
	}
	settle(&ready)
	w.stop()
	asleep = func() int64 {
		cancel()
		group.Wait()
		return ended.Load()
	}
	return sleeping.Load()
}

func sleepersLater(count int, w *watch) int64 {
	timers := make([]*time.Timer, count)
	var armed int64
	w.start()
	for i := range timers {
		timers[i] = time.AfterFunc(hour, func() { panic("an hour has passed") })
		armed++
	}
	w.stop()
	asleep = func() int64 {
		var ended int64
		for _, timer := range timers {
			if timer.Stop() {
				ended++
			}
		}
		return ended
	}
	return armed
}

func wake(_ int, w *watch) int64 {
	w.start()
	ended := asleep()
	w.stop()
	asleep = func() int64 { return 0 }
	return ended
}
