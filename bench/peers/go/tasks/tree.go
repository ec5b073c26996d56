// tree - a tree of goroutines under one context, which sleep, wait for a channel, and receive.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type tree struct {
	root      context.Context
	channel   chan int
	sockets   []net.Conn
	ready     sync.WaitGroup
	cancelled atomic.Int64
}

func (t *tree) waitForChannel(ctx context.Context) bool {
	select {
	case <-t.channel:
		return false
	case <-ctx.Done():
		return true
	}
}

// A read knows no context: whoever cancels sets its deadline into the past.
func receive(socket net.Conn) bool {
	_, err := socket.Read(make([]byte, 1))
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

var past = time.Unix(1, 0)

// The goroutine of a group has size leaves, a third of each kind as long as there are sockets.
func (t *tree) branch(size int, sockets []net.Conn) {
	ctx, cancel := context.WithCancel(t.root)
	defer cancel()
	var group sync.WaitGroup
	spawn := func(leaf func() bool) {
		group.Add(1)
		go func() {
			defer group.Done()
			t.ready.Done()
			if leaf() {
				t.cancelled.Add(1)
			}
		}()
	}
	used := 0
	for i := 0; i < size; i++ {
		if i%3 == 2 {
			spawn(func() bool { return t.waitForChannel(ctx) })
		} else if i%3 == 1 && used < len(sockets) {
			socket := sockets[used]
			spawn(func() bool { return receive(socket) })
			used++
		} else {
			spawn(func() bool { return sleep(ctx) })
		}
	}
	<-ctx.Done()
	for _, socket := range sockets[:used] {
		socket.SetReadDeadline(past)
	}
	group.Wait()
}

func connOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	return net.FileConn(file)
}

func socketPair() ([]net.Conn, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	a, errA := connOf(fds[0])
	b, errB := connOf(fds[1])
	if errA == nil && errB == nil {
		return []net.Conn{a, b}, nil
	}
	closeAll(a, b)
	return nil, fmt.Errorf("%v, %v", errA, errB)
}

func closeAll(sockets ...net.Conn) {
	for _, socket := range sockets {
		if socket != nil {
			socket.Close()
		}
	}
}

// As many ends of socket pairs as are wanted, or as there may be descriptors: Go itself has raised
// the soft limit to the hard one.
func openSockets(wanted int) []net.Conn {
	var sockets []net.Conn
	for len(sockets) < wanted {
		pair, err := socketPair()
		if err != nil {
			break
		}
		sockets = append(sockets, pair...)
	}
	return sockets
}

func cancelTree(count int, w *watch) int64 {
	root, cancel := context.WithCancel(context.Background())
	t := tree{root: root, channel: make(chan int), sockets: openSockets(count / 3)}
	var branches sync.WaitGroup
	t.ready.Add(count)
	sockets := t.sockets
	for left := count; left > 0; left -= groupSize {
		size := groupSize
		if left < size {
			size = left
		}
		share := size / 3
		if share > len(sockets) {
			share = len(sockets)
		}
		mine := sockets[:share]
		sockets = sockets[share:]
		branches.Add(1)
		go func() {
			t.branch(size, mine)
			branches.Done()
		}()
	}
	settle(&t.ready)
	w.start()
	cancel()
	branches.Wait()
	w.stop()
	closeAll(t.sockets...)
	return t.cancelled.Load()
}
