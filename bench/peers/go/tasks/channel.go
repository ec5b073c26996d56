// channel - a number sent to another goroutine and back, and a select over eight channels.
package main

func channelRoundTrip(count int, w *watch) int64 {
	there, back := make(chan int64), make(chan int64)
	go func() {
		for ball := range there {
			back <- ball + 1
		}
	}()
	var ball int64
	w.start()
	for i := 0; i < count; i++ {
		there <- ball
		ball = <-back
	}
	w.stop()
	close(there)
	return ball
}

func selectReady(count int, w *watch) int64 {
	var c [8]chan int64
	for i := range c {
		c[i] = make(chan int64, 1)
	}
	var sum int64
	w.start()
	for i := 0; i < count; i++ {
		c[i%8] <- int64(i)
		var item int64
		select {
		case item = <-c[0]:
		case item = <-c[1]:
		case item = <-c[2]:
		case item = <-c[3]:
		case item = <-c[4]:
		case item = <-c[5]:
		case item = <-c[6]:
		case item = <-c[7]:
		}
		sum += item
	}
	w.stop()
	return sum
}
