package bar

import (
	"errors"
	"strings"
	"testing"
)

func constant(v float64) Side { return One(func() (float64, error) { return v, nil }) }

func series(v ...float64) Side {
	i := 0
	return One(func() (float64, error) { i++; return v[i-1], nil })
}

func TestRunPrintsMediansAndVerdict(t *testing.T) {
	var out strings.Builder
	results, err := Run(&out, 5, []Bar{
		{Names: []string{"a"}, Unit: "op/s", Ours: series(90, 10, 95, 1000, 92), Against: constant(100), Wanted: 0.9},
		{Names: []string{"b"}, Unit: "op/s", Ours: constant(10), Against: constant(100), Wanted: 0.5},
		{Names: []string{"c"}, Unit: "op/s", Ours: constant(10), Against: constant(100)},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "bar=a ours=92.0 against=100 unit=op/s ratio=0.92 wanted=0.90 rounds=5 ok\n" +
		"bar=b ours=10.0 against=100 unit=op/s ratio=0.10 wanted=0.50 rounds=5 short\n" +
		"bar=c ours=10.0 against=100 unit=op/s ratio=0.10 wanted=0.00 rounds=5 -\n"
	if out.String() != want {
		t.Fatalf("got\n%swant\n%s", out.String(), want)
	}
	if len(results) != 3 {
		t.Fatalf("%d results", len(results))
	}
}

func TestFailingSideEndsOnlyItsBar(t *testing.T) {
	var out strings.Builder
	broken := errors.New("no device")
	results, err := Run(&out, 2, []Bar{
		{Names: []string{"a"}, Ours: One(func() (float64, error) { return 0, broken }), Against: constant(1)},
		{Names: []string{"b"}, Ours: constant(1), Against: constant(1)},
	})
	if !errors.Is(err, broken) || len(results) != 1 || results[0].Name != "b" {
		t.Fatalf("err %v, results %v", err, results)
	}
	if !strings.Contains(out.String(), "bar=a failed: no device") {
		t.Fatal(out.String())
	}
}

func TestRoundsAlternate(t *testing.T) {
	var order strings.Builder
	note := func(c byte) Side { return One(func() (float64, error) { order.WriteByte(c); return 1, nil }) }
	if _, err := Run(&strings.Builder{}, 4, []Bar{{Names: []string{"x"}, Ours: note('o'), Against: note('a')}}); err != nil {
		t.Fatal(err)
	}
	if got := order.String(); got != "oaaooaao" {
		t.Fatal(got)
	}
}

func TestOneRunMayMeasureSeveral(t *testing.T) {
	pair := func(a, b float64) Side { return func() ([]float64, error) { return []float64{a, b}, nil } }
	results, err := Run(&strings.Builder{}, 3, []Bar{{Names: []string{"create", "stat"}, Ours: pair(1, 2), Against: pair(2, 2)}})
	if err != nil || len(results) != 2 || results[0].Ratio() != 0.5 || results[1].Ratio() != 1 {
		t.Fatalf("%v %v", results, err)
	}
	if _, err := Run(&strings.Builder{}, 3, []Bar{{Names: []string{"create"}, Ours: pair(1, 2), Against: pair(2, 2)}}); err == nil {
		t.Fatal("two figures for one name were taken")
	}
}

func TestLimitIsAnUpperBound(t *testing.T) {
	var out strings.Builder
	_, err := Run(&out, 3, []Bar{
		{Names: []string{"a"}, Unit: "us/op", Ours: series(4, 9, 5), Limit: 2},
		{Names: []string{"b"}, Unit: "us/op", Ours: constant(2), Limit: 2},
		{Names: []string{"c"}, Unit: "allocs/op", Ours: constant(0), Limit: 0.005, Rounds: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "bar=a ours=5.00 against=2.00 unit=us/op ratio=0.40 wanted=1.00 rounds=3 short\n" +
		"bar=b ours=2.00 against=2.00 unit=us/op ratio=1.00 wanted=1.00 rounds=3 ok\n" +
		"bar=c ours=0.00 against=0.0050 unit=allocs/op ratio=1000.00 wanted=1.00 rounds=1 ok\n"
	if out.String() != want {
		t.Fatalf("got\n%swant\n%s", out.String(), want)
	}
}

func TestBeforeRunsOnceAndItsErrorEndsTheBar(t *testing.T) {
	var out strings.Builder
	n, broken := 0, errors.New("no disk")
	results, err := Run(&out, 3, []Bar{
		{Names: []string{"a"}, Ours: constant(1), Against: constant(1), Before: func() error { n++; return nil }},
		{Names: []string{"b"}, Ours: constant(1), Against: constant(1), Before: func() error { return broken }},
	})
	if n != 1 || !errors.Is(err, broken) || len(results) != 1 || results[0].Name != "a" {
		t.Fatalf("prepared %d times, err %v, results %v", n, err, results)
	}
}
