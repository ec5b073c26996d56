// echo - an echo server in Go: a goroutine a connection. Go itself sets TCP_NODELAY on every one;
// keep-alive is off, as in the other servers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
)

const bufferSize = 16 * 1024

// A new buffer for each would cost short connections a seventh more.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func echo(conn net.Conn) {
	defer conn.Close()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, syscall.ECONNABORTED) {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		go echo(conn)
	}
}

func main() {
	port := flag.Int("port", 0, "listen on this port")
	loops := flag.Int("loops", 1, "as many goroutines run at a time")
	flag.Parse()
	runtime.GOMAXPROCS(*loops)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	noKeepAlive := net.ListenConfig{KeepAlive: -1}
	listener, err := noKeepAlive.Listen(context.Background(), "tcp",
		fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	go serve(listener)
	fmt.Printf("listening on %v, %s, GOMAXPROCS %d\n", listener.Addr(), runtime.Version(), *loops)
	<-stop
}
