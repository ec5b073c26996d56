// sync - a lock that is free, a lock that is handed over, and an event that many wait for.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

func lock(count int, w *watch) int64 {
	var mutex sync.Mutex
	var held int64
	w.start()
	for i := 0; i < count; i++ {
		mutex.Lock()
		held++
		mutex.Unlock()
	}
	w.stop()
	return held
}

// A sync.Mutex lets the one that releases it take it again at once, and hands it over only to one
// that has waited a millisecond. A channel with room for one is the lock in Go that goes to who
// waits, each time.
type fairLock chan struct{}

func (l fairLock) acquire() { l <- struct{}{} }
func (l fairLock) release() { <-l }

type table struct {
	lock             fairLock
	holder           int
	handOvers, count int64
}

// Takes the lock again and again, and counts when it comes from the other. Where the runtime has
// stopped the other on its way to the lock, that one gets a turn to come and wait.
func (t *table) play(me int) {
	for {
		t.lock.acquire()
		switch {
		case t.handOvers == t.count:
			t.lock.release()
			return
		case t.holder == me:
			runtime.Gosched()
		default:
			t.holder = me
			t.handOvers++
		}
		t.lock.release()
	}
}

func lockHandOver(count int, w *watch) int64 {
	const nobody = -1
	t := table{lock: make(fairLock, 1), holder: nobody, count: int64(count)}
	var ready, group sync.WaitGroup
	ready.Add(2)
	group.Add(2)
	t.lock.acquire()
	for me := 0; me < 2; me++ {
		go func(me int) {
			ready.Done()
			t.play(me)
			group.Done()
		}(me)
	}
	settle(&ready)
	w.start()
	t.lock.release()
	group.Wait()
	w.stop()
	return t.handOvers
}

func eventSet(count int, w *watch) int64 {
	event := make(chan struct{})
	var woken atomic.Int64
	var ready, group sync.WaitGroup
	ready.Add(count)
	group.Add(count)
	for i := 0; i < count; i++ {
		go func() {
			ready.Done()
			<-event
			woken.Add(1)
			group.Done()
		}()
	}
	settle(&ready)
	w.start()
	close(event)
	group.Wait()
	w.stop()
	return woken.Load()
}

// All have said that they are about to wait; after a turn of everybody they do.
func settle(ready *sync.WaitGroup) {
	ready.Wait()
	runtime.Gosched()
}
