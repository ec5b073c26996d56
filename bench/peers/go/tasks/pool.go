// pool - a system call that may block. Go has no pool to be called: the goroutine makes the call
// itself, and should it last, the runtime lets another thread run the others.
package main

import "os"

func poolCall(count int, w *watch) int64 {
	var successful int64
	w.start()
	for i := 0; i < count; i++ {
		if _, err := os.Stat("/"); err == nil {
			successful++
		}
	}
	w.stop()
	return successful
}
