package dump

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"basalt/storage/format"
)

// line is one thing that is shown: what it is, where it stands, its fields in order, and what is wrong with it.
type line struct {
	depth  int
	what   string
	place  Extent
	fields []field
	remark string
	bad    error
	head   []byte // shown as hex beside what is wrong
}

type field struct {
	name  string
	value any
}

func newLine(depth int, what string) *line { return &line{depth: depth, what: what} }

func (l *line) at(e Extent) *line {
	l.place = e
	return l
}

func (l *line) add(name string, value any) *line {
	l.fields = append(l.fields, field{name, value})
	return l
}

func (l *line) note(text string) *line {
	l.remark = text
	return l
}

// broken says what is wrong; head is the beginning of the structure's bytes, if there are any.
func (l *line) broken(err error, head []byte) *line {
	l.bad, l.head = err, head
	return l
}

// errEnough: as many lines as were asked for are printed.
var errEnough = errors.New("dump: enough lines")

// printer writes lines as text or as JSON.
type printer struct {
	w      io.Writer
	json   bool
	left   int
	bad    int
	resume string // how to go on where the output stopped
}

func (p *printer) print(l *line) error {
	if p.left == 0 {
		return errEnough
	}
	p.left--
	return p.write(l)
}

func (p *printer) write(l *line) error {
	if l.bad != nil {
		p.bad++
	}
	text := l.text
	if p.json {
		text = l.object
	}
	_, err := io.WriteString(p.w, text())
	return err
}

func (p *printer) stopped(lines int) error {
	l := newLine(0, "stopped").add("lines", lines)
	if p.resume != "" {
		l.add("resume", p.resume)
	}
	return p.write(l.note("there is more: ask for more lines (--lines), or for less at once"))
}

// text is the line for people; wide fields go on in further lines.
func (l *line) text() string {
	var b strings.Builder
	indent := strings.Repeat("  ", l.depth)
	b.WriteString(indent + l.what)
	if l.place.Len > 0 {
		fmt.Fprintf(&b, " at %v", l.place)
	}
	width := b.Len()
	for _, f := range l.fields {
		word := f.name + "=" + plain(f.value)
		if width+1+len(word) > lineBytes {
			b.WriteString("\n" + indent + "   ")
			width = len(indent) + 3
		}
		b.WriteString(" " + word)
		width += 1 + len(word)
	}
	if l.remark != "" {
		if width+3+len(l.remark) > lineBytes {
			b.WriteString("\n" + indent + "   ")
		}
		b.WriteString(" (" + l.remark + ")")
	}
	b.WriteByte('\n')
	if l.bad == nil {
		return b.String()
	}
	fmt.Fprintf(&b, "%s  BAD %s\n", indent, strings.ReplaceAll(l.bad.Error(), "\n", "; "))
	if len(l.head) > 0 && len(bytes.Trim(l.head, "\x00")) == 0 {
		fmt.Fprintf(&b, "%s    all %d bytes are zero\n", indent, len(l.head))
	} else if len(l.head) > 0 {
		for row := range strings.Lines(hex.Dump(l.head[:min(len(l.head), headBytes)])) {
			b.WriteString(indent + "    " + row)
		}
	}
	return b.String()
}

const (
	lineBytes  = 150 // where a line of text breaks
	headBytes  = 128 // of a damaged structure are shown
	valueShown = 32  // and of a value
)

// object is the line as JSON.
func (l *line) object() string {
	var b strings.Builder
	b.WriteString(`{"what":` + quoted(l.what) + `,"depth":` + strconv.Itoa(l.depth))
	if l.place.Len > 0 {
		fmt.Fprintf(&b, `,"start":%d,"blocks":%d`, l.place.Start, l.place.Len)
	}
	if len(l.fields) > 0 { // below a name of their own: none of them can hide what, start or bad
		b.WriteString(`,"fields":{`)
		for i, f := range l.fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(quoted(f.name) + ":" + value(f.value))
		}
		b.WriteByte('}')
	}
	if l.remark != "" {
		b.WriteString(`,"note":` + quoted(l.remark))
	}
	if l.bad != nil {
		b.WriteString(`,"bad":` + badObject(l.bad))
		if len(l.head) > 0 {
			b.WriteString(`,"hex":` + quoted(hex.EncodeToString(l.head[:min(len(l.head), headBytes)])))
		}
	}
	return b.String() + "}\n"
}

func badObject(err error) string {
	var c *format.CorruptError
	if !errors.As(err, &c) {
		return `{"error":` + quoted(err.Error()) + `}`
	}
	return fmt.Sprintf(`{"error":%s,"device":%s,"start":%d,"blocks":%d,"what":%s,"want":%s,"got":%s}`,
		quoted(err.Error()), quoted(c.Device), c.Extent.Start, c.Extent.Len, quoted(c.What), quoted(c.Want), quoted(c.Got))
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic("dump: a string that is no JSON: " + err.Error()) // there is none
	}
	return string(b)
}

// crc is a checksum, shown as 8 hex digits.
type crc uint32

func (c crc) String() string { return fmt.Sprintf("%08x", uint32(c)) }

// plain is a value for people.
func plain(v any) string {
	switch v := v.(type) {
	case []byte:
		return Name(v)
	case string:
		if v == "" || strings.ContainsAny(v, " \t\n\"=") {
			return strconv.Quote(v)
		}
		return v
	}
	return fmt.Sprint(v)
}

// value is a value as JSON: numbers and truth as they are, everything else as text.
func value(v any) string {
	switch v := v.(type) {
	case int, int64, uint8, uint16, uint32, uint64, BlockNo, format.BlockCount, bool:
		return fmt.Sprint(v)
	case []byte:
		return quoted(Name(v))
	}
	return quoted(fmt.Sprint(v))
}

// hexMark stands before a name that is written as hex digits.
const hexMark = "hex:"

// Name writes the name of an object, or a key, as ParseName reads it: as it is if it is plain ASCII, else as hex digits.
func Name(b []byte) string {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '=' {
			return hexMark + hex.EncodeToString(b)
		}
	}
	if len(b) == 0 || strings.HasPrefix(string(b), hexMark) {
		return hexMark + hex.EncodeToString(b)
	}
	return string(b)
}

// ParseName reads a name as Name writes it.
func ParseName(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, hexMark)
	if !ok {
		return []byte(s), nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return b, nil
}

// some is the beginning of a value, as text if it is plain ASCII.
func some(b []byte) string {
	more := ""
	if len(b) > valueShown {
		b, more = b[:valueShown], "…"
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return hexMark + hex.EncodeToString(b) + more
		}
	}
	return string(b) + more
}
