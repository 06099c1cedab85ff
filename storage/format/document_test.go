package format

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// documented is a structure of docs/FORMAT.md as the code sees it.
type documented struct {
	size   int                    // of the fixed part
	zero   func() any             // pointer to a value whose fields are as zero as can be encoded
	encode func(v any) []byte     // the fixed part, or more
	set    map[string]func(v any) // fields that cannot be all ones
	magic  string
	skip   string // bytes that change with every field: the crc, as "from-to"
}

func structures() map[string]documented {
	buf := func(n int, fn func(b []byte)) []byte {
		b := make([]byte, n)
		fn(b)
		return b
	}
	return map[string]documented{
		"Label": {size: LabelBytes, magic: labelMagic, skip: "16380-16384",
			zero:   func() any { return &Label{} },
			encode: func(v any) []byte { return buf(LabelBytes, v.(*Label).Encode) },
			set: map[string]func(any){
				"Segments": func(v any) {
					for range SegmentsMax {
						v.(*Label).Segments = append(v.(*Label).Segments, Segment{1<<64 - 1, 1<<32 - 1, 1<<16 - 1, 1<<16 - 1})
					}
				},
				"(count Segments)": func(v any) { v.(*Label).Segments = make([]Segment, 0x101) },
			}},
		"Segment": {size: SegmentBytes, zero: func() any { return &Segment{} },
			encode: func(v any) []byte { return buf(SegmentBytes, v.(*Segment).Encode) }},
		"Superblock": {size: SuperBytes, magic: superMagic, skip: "4092-4096", zero: func() any { return &Superblock{} },
			encode: func(v any) []byte { return buf(SuperBytes, v.(*Superblock).Encode) },
			set: map[string]func(any){"Tree": func(v any) {
				v.(*Superblock).Tree = TreeRoot{ChildPtr{1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<32 - 1, 1<<32 - 1}, 255}
			}}},
		"ChildPtr": {size: ChildPtrBytes, zero: func() any { return &ChildPtr{} },
			encode: func(v any) []byte { return buf(ChildPtrBytes, v.(*ChildPtr).Encode) }},
		"TreeRoot": {size: 40, zero: func() any { return &TreeRoot{} },
			encode: func(v any) []byte { return buf(40, v.(*TreeRoot).encode) }},
		"NodeHeader": {size: NodeHeaderBytes, magic: nodeMagic, zero: func() any { return &NodeHeader{} },
			encode: func(v any) []byte { return buf(NodeHeaderBytes, v.(*NodeHeader).Encode) }},
		"ValueExtent": {size: ValueExtentBytes, zero: func() any { return &ValueExtent{} },
			encode: func(v any) []byte { return buf(ValueExtentBytes, v.(*ValueExtent).Encode) }},
		"CollectionRecord": {size: CollectionRecBytes, zero: func() any { return &CollectionRecord{} },
			encode: func(v any) []byte { return buf(CollectionRecBytes, v.(*CollectionRecord).Encode) }},
		"Onode": {size: OnodeHeaderBytes, zero: func() any { return &Onode{} },
			encode: func(v any) []byte { return v.(*Onode).Append(nil) },
			set: map[string]func(any){"(count Attrs)": func(v any) {
				v.(*Onode).Attrs = make([]Attr, AttrsMax)
				for i := range v.(*Onode).Attrs {
					v.(*Onode).Attrs[i].Name = []byte(fmt.Sprintf("%03d", i))
				}
			}}},
		"ExtentRecord": {size: ExtentRecordHeader, zero: func() any { return &ExtentRecord{0, 1, make([]byte, 4), 0} },
			encode: func(v any) []byte { return v.(*ExtentRecord).Append(nil) },
			set:    map[string]func(any){"Len": func(v any) { *v.(*ExtentRecord) = ExtentRecord{0, 64, make([]byte, 256), 0} }}},
		"ShareRecord": {size: ShareRecordBytes, zero: func() any { return &ShareRecord{1, 1} },
			encode: func(v any) []byte { return v.(*ShareRecord).Append(nil) },
			set:    map[string]func(any){"Len": func(v any) { v.(*ShareRecord).Len = 64 }, "Refs": func(v any) { v.(*ShareRecord).Refs = 1<<32 - 2 }}},
		"JournalHeader": {size: JournalHeaderBytes, magic: journalMagic, zero: func() any { return &JournalHeader{} },
			encode: func(v any) []byte { return buf(JournalHeaderBytes, v.(*JournalHeader).Encode) }},
		"TxnHeader": {size: TxnHeaderBytes, zero: func() any { return &TxnHeader{} },
			encode: func(v any) []byte { return buf(TxnHeaderBytes, v.(*TxnHeader).Encode) }},
		"Piece": {size: WritePieceBytes, zero: func() any { return &Piece{Extent: Extent{0, 1}, Crcs: make([]byte, 4)} },
			encode: func(v any) []byte { return AppendPiece(nil, v.(*Piece)) },
			set: map[string]func(any){"Extent.Len": func(v any) {
				v.(*Piece).Extent.Len, v.(*Piece).Crcs = 0x100, make([]byte, 0x400)
			}}},
		"SpaceMapHeader": {size: SpaceMapHeaderBytes, magic: spaceMapMagic, zero: func() any { return &SpaceMapHeader{} },
			encode: func(v any) []byte { return buf(SpaceMapHeaderBytes, v.(*SpaceMapHeader).Encode) }},
	}
}

type row struct {
	offset, size int
	field        string
}

var (
	titleLine = regexp.MustCompile("^### `(\\w+)` \\((\\d+) bytes")
	rowLine   = regexp.MustCompile(`^\| (\d+) \| (\d+) \| [^|]*\| ([^|]+) \|`)
)

func readDocument(t *testing.T) (sizes map[string]int, rows map[string][]row) {
	t.Helper()
	b, err := os.ReadFile("../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	sizes, rows = map[string]int{}, map[string][]row{}
	name := ""
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "#") {
			name = ""
		}
		if m := titleLine.FindStringSubmatch(line); m != nil {
			name = m[1]
			sizes[name], _ = strconv.Atoi(m[2])
		}
		if m := rowLine.FindStringSubmatch(line); m != nil && name != "" {
			r := row{field: strings.TrimSpace(m[3])}
			r.offset, _ = strconv.Atoi(m[1])
			r.size, _ = strconv.Atoi(m[2])
			rows[name] = append(rows[name], r)
		}
	}
	return sizes, rows
}

// TestDocument: every offset and size in docs/FORMAT.md is what the encoder does, no byte is undocumented, and no field.
func TestDocument(t *testing.T) {
	sizes, rows := readDocument(t)
	code := structures()
	for name := range sizes {
		if _, ok := code[name]; !ok {
			t.Errorf("%s is documented and unknown to this test", name)
		}
	}
	for name, d := range code {
		t.Run(name, func(t *testing.T) {
			if sizes[name] != d.size {
				t.Fatalf("documented with %d bytes, the code has %d", sizes[name], d.size)
			}
			at, seen := 0, map[string]bool{}
			for _, r := range rows[name] {
				if r.offset != at {
					t.Errorf("%s: offset %d, the row before ends at %d", r.field, r.offset, at)
				}
				at = r.offset + r.size
				seen[strings.TrimSuffix(strings.TrimPrefix(strings.Split(r.field, ".")[0], "(count "), ")")] = true
				checkRow(t, d, r)
			}
			if at != d.size {
				t.Errorf("rows end at %d of %d", at, d.size)
			}
			typ := reflect.TypeOf(d.zero()).Elem()
			for i := range typ.NumField() {
				if f := typ.Field(i).Name; !seen[f] && f != "Crcs" {
					t.Errorf("field %s is not documented", f)
				}
			}
		})
	}
}

// checkRow sets one field to all ones and looks which bytes change.
func checkRow(t *testing.T, d documented, r row) {
	t.Helper()
	base, v := d.encode(d.zero()), d.zero()
	switch {
	case strings.HasPrefix(r.field, "(magic"):
		if want := "(magic " + d.magic + ")"; r.field != want || string(base[r.offset:r.offset+r.size]) != d.magic {
			t.Errorf("%s: the code writes %q", r.field, base[r.offset:r.offset+r.size])
		}
		return
	case r.field == "(zero)" || r.field == "(crc)":
		if i := nonZero(base[r.offset : r.offset+r.size]); i >= 0 && r.field == "(zero)" {
			t.Errorf("padding at %d is not zero", r.offset+i)
		}
		if r.field == "(crc)" && d.skip != fmt.Sprintf("%d-%d", r.offset, r.offset+r.size) {
			t.Errorf("crc at %d, the code has it at %s", r.offset, d.skip)
		}
		return
	}
	if set := d.set[r.field]; set != nil {
		set(v)
	} else {
		setOnes(fieldOf(t, v, r.field))
	}
	got, inside := d.encode(v), 0
	for i := range d.size {
		if got[i] == base[i] || d.skip == fmt.Sprintf("%d-%d", i&^3, i&^3+4) {
			continue
		}
		if i >= r.offset && i < r.offset+r.size {
			inside++
		} else if !(r.field == "Segments" && i >= 46 && i < 48) && !(r.field == "(count Segments)" && i >= 128) {
			t.Errorf("%s: changes byte %d, documented is %d…%d", r.field, i, r.offset, r.offset+r.size-1)
		}
	}
	if d.set[r.field] == nil && inside != r.size || inside == 0 {
		if _, custom := d.set[r.field]; !custom || inside == 0 {
			t.Errorf("%s: %d of %d documented bytes belong to it", r.field, inside, r.size)
		}
	}
}

func fieldOf(t *testing.T, v any, path string) reflect.Value {
	t.Helper()
	f := reflect.ValueOf(v).Elem()
	for _, part := range strings.Split(path, ".") {
		if i, err := strconv.Atoi(part); err == nil {
			f = f.Index(i)
		} else {
			f = f.FieldByName(part)
		}
		if !f.IsValid() {
			t.Fatalf("the code has no field %s", path)
		}
	}
	return f
}

func setOnes(f reflect.Value) {
	switch f.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		f.SetUint(1<<(8*f.Type().Size()) - 1)
		if f.Type().Size() == 8 {
			f.SetUint(^uint64(0))
		}
	case reflect.Int64:
		f.SetInt(-1)
	case reflect.Array:
		for i := range f.Len() {
			setOnes(f.Index(i))
		}
	case reflect.Struct:
		for i := range f.NumField() {
			setOnes(f.Field(i))
		}
	default:
		panic("field of kind " + f.Kind().String())
	}
}

// TestDocumentedLimits: numbers in the text are the constants.
func TestDocumentedLimits(t *testing.T) {
	b, err := os.ReadFile("../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("Format version %d.", Version), fmt.Sprintf("block *n* of a device begins at byte %d·n", BlockBytes),
		fmt.Sprintf("number of segments, 1…%d", SegmentsMax), fmt.Sprintf("number of slices, 1…%d", SlicesMax),
		fmt.Sprintf("a power of two from %d to %d", NodeBytesMin, NodeBytesMax),
		fmt.Sprintf("A key has at most %d bytes", KeyBytesMax),
		fmt.Sprintf("Values of more than %d bytes (a choice of the writer) and at most %d", ValueInlineMax, ValueBytesMax),
		fmt.Sprintf("attributes, at most %d", AttrsMax), fmt.Sprintf("blocks, 1…%d", ExtentBlocksMax),
		fmt.Sprintf("longest journal record, at most %d MiB", JournalRecordMax>>20),
		fmt.Sprintf("header and operations, at most %d MiB", TxnBytesMax>>20),
		fmt.Sprintf("kind: %d collection, %d onode, %d extent, %d user key, %d share", KindCollection, KindOnode, KindExtent, KindUser, KindShare),
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("docs/FORMAT.md does not say %q", want)
		}
	}
	for k := OpKind(1); k < opKindEnd; k++ {
		p, line := opTable[k], fmt.Sprintf("| %d %s |", k, k)
		for _, has := range []bool{p.name, p.key, p.hi, p.off, p.length, p.size, p.val, p.pieces} {
			line += map[bool]string{true: " ● |", false: " |"}[has]
		}
		if !strings.Contains(string(b), "\n"+line) {
			t.Errorf("docs/FORMAT.md has no row %q", line)
		}
	}
}
