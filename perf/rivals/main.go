// Command rivals drives the stores that Go programs embed, for the bars in which Basalt's store is measured beside them (perf/bench
// starts it). It is a module of its own: what bbolt and pebble need is no part of Basalt's, and only `make bench-store` builds it.
//
//	rivals put  -store bbolt|pebble -dir DIR -writers N -seconds S
//	rivals fill -store pebble -dir DIR -keys N
//	rivals get  -store pebble -dir DIR -keys N -readers N -seconds S -warm S -cache BYTES -heap BYTES
//
// put and get print the rate in operations per second, one number, on standard output. put goes on with the store that it finds in
// DIR, fill begins anew, get reads what fill has left. Which keys and values those are stands in perf/keys. Each goroutine owns what it
// puts or gets with; the stores take any number of them. Read rate.go for the loop that is measured.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
)

// options are the flags; a command refuses what it needs and has not got. Immutable after they were parsed.
type options struct {
	store, dir       string
	writers, readers int
	keys             int
	seconds, warm    float64
	cacheBytes       int64
	heapBytes        int64
}

func main() {
	if len(os.Args) < 2 {
		refuse("a command is needed: put, fill or get")
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.store, "store", "", "bbolt or pebble")
	flags.StringVar(&o.dir, "dir", "", "where the store lives")
	switch os.Args[1] {
	case "put":
		flags.IntVar(&o.writers, "writers", 0, "goroutines that put")
		flags.Float64Var(&o.seconds, "seconds", 0, "how long they do")
	case "fill":
		flags.IntVar(&o.keys, "keys", 0, "how many keys")
	case "get":
		flags.IntVar(&o.keys, "keys", 0, "how many keys there are")
		flags.IntVar(&o.readers, "readers", 0, "goroutines that get")
		flags.Float64Var(&o.seconds, "seconds", 0, "how long they do")
		flags.Float64Var(&o.warm, "warm", 0, "how long they do before that")
		flags.Int64Var(&o.cacheBytes, "cache", 0, "bytes of the store's own cache")
		flags.Int64Var(&o.heapBytes, "heap", 0, "bytes that the Go heap stays below if it can")
	default:
		refuse("no command is called %q: put, fill or get", os.Args[1])
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		refuse("%v", err)
	}
	if flags.NArg() > 0 {
		refuse("%q is no flag", flags.Arg(0))
	}
	if o.dir == "" {
		refuse("-dir is needed")
	}
	if err := o.run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}

func refuse(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "rivals: "+format+"\n", args...)
	os.Exit(2)
}

func (o *options) run(command string) error {
	switch command {
	case "put":
		return o.put()
	case "fill":
		return o.fill()
	}
	return o.get()
}

func (o *options) put() error {
	open := map[string]func(*options) (putStore, error){"bbolt": openBolt, "pebble": openPebble}[o.store]
	if open == nil {
		refuse("put knows no store %q: bbolt or pebble", o.store)
	}
	if o.writers <= 0 || o.seconds <= 0 {
		refuse("put needs -writers and -seconds above zero")
	}
	s, err := open(o)
	if err != nil {
		return err
	}
	rate, err := putRate(o.seconds, o.writers, s.put)
	return printed(rate, err, s.close())
}

func (o *options) fill() error {
	o.onlyPebble()
	if o.keys <= 0 {
		refuse("fill needs -keys above zero")
	}
	return fillPebble(o.dir, o.keys)
}

func (o *options) get() error {
	o.onlyPebble()
	if o.keys <= 0 || o.readers <= 0 || o.seconds <= 0 || o.warm < 0 || o.cacheBytes <= 0 || o.heapBytes <= 0 {
		refuse("get needs -keys, -readers, -seconds, -cache and -heap above zero, and no -warm below it")
	}
	debug.SetMemoryLimit(o.heapBytes)
	s, err := openToGet(o.dir, o.cacheBytes)
	if err != nil {
		return err
	}
	get := s.getting(o.keys)
	var rate float64
	if _, err = goroutineRate(o.warm, o.readers, get); err == nil {
		rate, err = goroutineRate(o.seconds, o.readers, get)
	}
	return printed(rate, err, s.close())
}

func (o *options) onlyPebble() {
	if o.store != "pebble" {
		refuse("only put knows another store than pebble")
	}
}

// printed prints a rate whose measurement and end went well.
func printed(rate float64, errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	_, err := fmt.Println(rate)
	return err
}

// progress tells whoever waits what takes so long.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "# "+format+"\n", args...) }
