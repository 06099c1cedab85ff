package netio

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"testing"
)

func sampleHeader() Header {
	return Header{
		Kind: KindRequest, Shard: 3, Group: 0x1234, Epoch: 7, ReqID: 0x1122334455667788, DeadlineMs: 30000,
		Txn: 0x0102030405060708, Committed: 4096, bodyLen: 100, payloadLen: 4096, bodyCrc: 0xAABBCCDD, payloadCrc: 0x99887766,
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	for k := KindHello; k < kindEnd; k++ {
		body, payload := frameBounds(k)
		h := sampleHeader()
		h.Kind, h.bodyLen, h.payloadLen = k, uint32(body), uint32(payload)
		if body == 0 {
			h.bodyCrc = 0
		}
		if payload == 0 {
			h.payloadCrc = 0
		}
		var b [HeaderLen]byte
		EncodeHeader(b[:], &h)
		var got Header
		if err := DecodeHeader(b[:], &got); err != nil {
			t.Fatalf("%v: %v", k, err)
		}
		if got != h {
			t.Fatalf("%v: got %+v want %+v", k, got, h)
		}
	}
}

// The bytes of one header, fixed for ever: a change here is a change of the protocol.
func TestHeaderGolden(t *testing.T) {
	h := sampleHeader()
	var b [HeaderLen]byte
	EncodeHeader(b[:], &h)
	const want = "42534c54" + "01" + "03" + "0000" + "0300" + "3412" + "07000000" + "8877665544332211" + "30750000" +
		"64000000" + "00100000" + "66778899" + "0807060504030201" + "0010000000000000" + "ddccbbaa"
	if got := hex.EncodeToString(b[:60]); got != want {
		t.Fatalf("header changed:\n got %s\nwant %s", got, want)
	}
	if got, want := binary.LittleEndian.Uint32(b[60:]), crc32.Checksum(b[:60], crc32.MakeTable(crc32.Castagnoli)); got != want {
		t.Fatalf("headerCrc %#x, want %#x", got, want)
	}
}

// The table in docs/PROTOCOL.md and the encoder agree on every offset and size.
func TestHeaderMatchesDocument(t *testing.T) {
	doc, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "## Header, 64 bytes")
	if !ok {
		t.Fatal("docs/PROTOCOL.md has no section about the header")
	}
	table, _, _ = strings.Cut(table, "Magic, version")
	set := map[string]func(h *Header){
		"kind":       func(h *Header) { h.Kind = 0xFF },
		"flags":      func(h *Header) { h.Flags = 0xFFFF },
		"shard":      func(h *Header) { h.Shard = 0xFFFF },
		"group":      func(h *Header) { h.Group = 0xFFFF },
		"epoch":      func(h *Header) { h.Epoch = 0xFFFFFFFF },
		"reqid":      func(h *Header) { h.ReqID = ^uint64(0) },
		"deadlineMs": func(h *Header) { h.DeadlineMs = 0xFFFFFFFF },
		"bodyLen":    func(h *Header) { h.bodyLen = 0xFFFFFFFF },
		"payloadLen": func(h *Header) { h.payloadLen = 0xFFFFFFFF },
		"payloadCrc": func(h *Header) { h.payloadCrc = 0xFFFFFFFF },
		"txn":        func(h *Header) { h.Txn = ^uint64(0) },
		"committed":  func(h *Header) { h.Committed = ^uint64(0) },
		"bodyCrc":    func(h *Header) { h.bodyCrc = 0xFFFFFFFF },
	}
	seen, next := 0, 0
	for _, line := range strings.Split(table, "\n") {
		cell := strings.Split(line, "|")
		if len(cell) < 6 {
			continue
		}
		off, err := strconv.Atoi(strings.TrimSpace(cell[1]))
		if err != nil {
			continue
		}
		size, err := strconv.Atoi(strings.TrimSpace(cell[2]))
		if err != nil {
			t.Fatalf("size in %q: %v", line, err)
		}
		if off != next {
			t.Fatalf("documented offset %d, the field before ends at %d", off, next)
		}
		next = off + size
		name := strings.TrimSpace(cell[4])
		fill, ok := set[name]
		if !ok {
			if name != "magic" && name != "version" && name != "headerCrc" {
				t.Fatalf("documented field %q is not in the code", name)
			}
			continue
		}
		seen++
		var zero, one Header
		fill(&one)
		var a, b [HeaderLen]byte
		EncodeHeader(a[:], &zero)
		EncodeHeader(b[:], &one)
		for i := range 60 {
			if in := i >= off && i < off+size; in != (a[i] != b[i]) {
				t.Fatalf("field %s: documented at %d~%d, byte %d disagrees", name, off, size, i)
			}
		}
	}
	if next != HeaderLen || seen != len(set) {
		t.Fatalf("the documented table ends at %d and names %d fields, want %d and %d", next, seen, HeaderLen, len(set))
	}
}

// Every number of a kind or an error in the document is the code's.
func TestNumbersMatchDocument(t *testing.T) {
	doc, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for k := KindHello; k < kindEnd; k++ {
		if row := "| " + strconv.Itoa(int(k)) + " | " + k.String() + " |"; !strings.Contains(string(doc), row) {
			t.Errorf("no row %q", row)
		}
	}
	words := map[Code]string{CodeVersion: "version:", CodeMalformed: "malformed:", CodeRefused: "refused:", CodeNoShard: "no such shard",
		CodeBusy: "busy:", CodeStopping: "stopping:", CodeDeadline: "deadline:", CodeTimeout: "timeout:",
		CodeReplyTooLarge: "reply too large:", CodeCredit: "credit:"}
	for c := CodeVersion; c < codeEnd; c++ {
		if row := "| " + strconv.Itoa(int(c)) + " | " + words[c]; words[c] == "" || !strings.Contains(string(doc), row) {
			t.Errorf("no row %q", row)
		}
	}
}

func TestHeaderRefused(t *testing.T) {
	good := sampleHeader()
	reseal := func(b []byte) {
		binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	}
	cases := []struct {
		name, field string
		change      func(b []byte)
	}{
		{"magic", "magic", func(b []byte) { b[0] = 'X' }},
		{"version", "version", func(b []byte) { b[4] = 9 }},
		{"crc", "headerCrc", func(b []byte) { b[20] ^= 1 }},
		{"kind 0", "kind", func(b []byte) { b[5] = 0; reseal(b) }},
		{"kind 13", "kind", func(b []byte) { b[5] = 13; reseal(b) }},
		{"flags", "flags", func(b []byte) { b[6] = 2; reseal(b) }},
		{"one-way reply", "flags", func(b []byte) { b[5] = byte(KindReply); b[6] = 1; reseal(b) }},
		{"one-way payload", "payloadLen", func(b []byte) { b[6] = 1; reseal(b) }},
		{"body", "bodyLen", func(b []byte) { binary.LittleEndian.PutUint32(b[28:], BodyMax+1); reseal(b) }},
		{"body 4 GiB", "bodyLen", func(b []byte) { binary.LittleEndian.PutUint32(b[28:], 0xFFFFFFFF); reseal(b) }},
		{"payload", "payloadLen", func(b []byte) { binary.LittleEndian.PutUint32(b[32:], PayloadMax+1); reseal(b) }},
		{"ping with body", "bodyLen", func(b []byte) { b[5] = byte(KindPing); reseal(b) }},
		{"hello body", "bodyLen", func(b []byte) {
			b[5] = byte(KindHello)
			binary.LittleEndian.PutUint32(b[28:], handshakeBodyMax+1)
			binary.LittleEndian.PutUint32(b[32:], 0)
			reseal(b)
		}},
		{"crc of nothing", "bodyCrc", func(b []byte) { binary.LittleEndian.PutUint32(b[28:], 0); reseal(b) }},
		{"payload crc of nothing", "payloadCrc", func(b []byte) { binary.LittleEndian.PutUint32(b[32:], 0); reseal(b) }},
		{"replyMax", "replyMax", func(b []byte) { binary.LittleEndian.PutUint64(b[48:], PayloadMax+1); reseal(b) }},
	}
	for _, c := range cases {
		var b [HeaderLen]byte
		EncodeHeader(b[:], &good)
		c.change(b[:])
		var h Header
		err := DecodeHeader(b[:], &h)
		if err == nil || err.Field != c.field {
			t.Errorf("%s: got %v, want a refusal of %s", c.name, err, c.field)
		}
	}
	var h Header
	if err := DecodeHeader(make([]byte, 63), &h); err == nil {
		t.Error("63 bytes decoded")
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	h := sampleHeader()
	b := make([]byte, HeaderLen)
	body := make([]byte, 100)
	n := testing.AllocsPerRun(100, func() {
		h.bodyCrc = checksum(body)
		EncodeHeader(b, &h)
		var got Header
		if err := DecodeHeader(b, &got); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations per frame", n)
	}
}

func TestErrorBody(t *testing.T) {
	b := appendErrorBody(nil, CodeStopping, "going home")
	e, perr := decodeErrorBody(b)
	if perr != nil || e.Code != CodeStopping || e.Sentence != "going home" || !errors.Is(e, ErrStopped) || errors.Is(e, ErrDeadline) {
		t.Fatalf("got %+v %v", e, perr)
	}
	if b := appendErrorBody(nil, CodeBusy, strings.Repeat("x", 5000)); len(b) > handshakeBodyMax {
		t.Fatalf("error body of %d bytes", len(b))
	}
	for _, bad := range [][]byte{nil, {1}, {0, 0}, {99, 0}} {
		if _, perr := decodeErrorBody(bad); perr == nil {
			t.Errorf("%v decoded", bad)
		}
	}
}

// What decodes is in bounds, and encodes to the same bytes.
func FuzzHeader(f *testing.F) {
	h := sampleHeader()
	var b [HeaderLen]byte
	EncodeHeader(b[:], &h)
	f.Add(b[:])
	f.Add(b[:10])
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) >= HeaderLen { // let the fuzzer past the checksum
			in = bytes.Clone(in)
			binary.LittleEndian.PutUint32(in[60:], crc32.Checksum(in[:60], castagnoli))
		}
		var h Header
		if DecodeHeader(in, &h) != nil {
			return
		}
		body, payload := frameBounds(h.Kind)
		if h.BodyLen() > body || h.PayloadLen() > payload || h.cost() < 0 || (h.isRequest() && h.ReplyMax() > PayloadMax) {
			t.Fatalf("out of bounds: %+v", h)
		}
		var out [HeaderLen]byte
		EncodeHeader(out[:], &h)
		if !bytes.Equal(out[:], in[:HeaderLen]) {
			t.Fatalf("decoded %x, encoded %x", in[:HeaderLen], out)
		}
	})
}
