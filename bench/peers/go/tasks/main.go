// tasks - what COUNT operations of a bench cost in Go, asked for line by line on standard input.
//
// bench/README.md says what one operation of each bench is.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"runtime"
)

// A bench does count operations, the timed part of them under the watch, and returns what it
// counted on the way.
type bench func(count int, w *watch) int64

var benches = map[string]bench{
	"yield":              yield,
	"spawn_join":         spawnJoin,
	"skynet":             skynet,
	"channel_round_trip": channelRoundTrip,
	"select_ready":       selectReady,
	"lock":               lock,
	"lock_hand_over":     lockHandOver,
	"event_set":          eventSet,
	"timers":             timers,
	"timeout_scope":      timeoutScope,
	"cancel_join":        cancelJoin,
	"cancel_tree":        cancelTree,
	"pool_call":          poolCall,
	"sleepers":           sleepers,
	"sleepers_later":     sleepersLater,
	"wake":               wake,
}

// Nobody pays for the garbage of the bench before.
func run(do bench, name string, count int) {
	var w watch
	runtime.GC()
	answer := do(count, &w)
	fmt.Printf(`{"bench":"%s","count":%d,"cpu_ns":%d,"wall_ns":%d,"answer":%d}`+"\n",
		name, count, w.cpuNS, w.wallNS, answer)
}

func main() {
	runtime.GOMAXPROCS(1)
	fmt.Printf("ready %s, GOMAXPROCS 1\n", runtime.Version())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var name string
		var count int
		if _, err := fmt.Sscan(lines.Text(), &name, &count); err != nil {
			log.Fatalf("%q is not BENCH COUNT", lines.Text())
		}
		if do, ok := benches[name]; ok {
			run(do, name, count)
		} else {
			fmt.Printf(`{"bench":"%s","error":"has none: unknown here"}`+"\n", name)
		}
	}
}
