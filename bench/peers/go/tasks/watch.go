// watch - the CPU time of the process and the time on the wall between two moments.
package main

import (
	"syscall"
	"time"
	"unsafe"
)

type watch struct {
	cpuNS, wallNS int64
	cpuStartNS    int64
	wallStart     time.Time
}

func (w *watch) start() {
	w.wallStart = time.Now()
	w.cpuStartNS = processCPU()
}

func (w *watch) stop() {
	w.cpuNS = processCPU() - w.cpuStartNS
	w.wallNS = time.Since(w.wallStart).Nanoseconds()
}

// The standard library has no call for this clock.
func processCPU() int64 {
	const clockProcessCPUTime = 2
	var t syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockProcessCPUTime,
		uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		panic(errno)
	}
	return t.Nano()
}
