// spawn - goroutines that take turns, that come and go, and that make more of themselves.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

const groupSize = 1000

// Two goroutines take turns.
func yield(count int, w *watch) int64 {
	var yields atomic.Int64
	var group sync.WaitGroup
	group.Add(2)
	w.start()
	for i := 0; i < 2; i++ {
		go func() {
			made := 0
			for ; made < count/2; made++ {
				runtime.Gosched()
			}
			yields.Add(int64(made))
			group.Done()
		}()
	}
	group.Wait()
	w.stop()
	return yields.Load()
}

func spawnJoin(count int, w *watch) int64 {
	var counter atomic.Int64
	var group sync.WaitGroup
	task := func() {
		counter.Add(1)
		group.Done()
	}
	w.start()
	for left := count; left > 0; left -= groupSize {
		size := groupSize
		if left < size {
			size = left
		}
		group.Add(size)
		for i := 0; i < size; i++ {
			go task()
		}
		group.Wait()
	}
	w.stop()
	return counter.Load()
}

const children = 10

// The channel has room for all answers, so a leaf that is done is gone.
func skynetNode(answer chan<- int64, first, leaves int) {
	if leaves == 1 {
		answer <- int64(first)
		return
	}
	sums := make(chan int64, children)
	for i := 0; i < children; i++ {
		go skynetNode(sums, first+i*leaves/children, leaves/children)
	}
	var sum int64
	for i := 0; i < children; i++ {
		sum += <-sums
	}
	answer <- sum
}

func skynet(count int, w *watch) int64 {
	answer := make(chan int64, 1)
	w.start()
	go skynetNode(answer, 0, count)
	sum := <-answer
	w.stop()
	return sum
}
