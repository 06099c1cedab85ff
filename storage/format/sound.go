package format

import (
	"bytes"
	"encoding/binary"
)

// sound tells whether CheckEntries would find nothing. Every node that is read is checked, and hardly one is bad: this goes over the cells once and keeps
// in registers what CheckEntries looks up for each of them.
func (n Node) sound() bool {
	count, prefix, used := n.Count(), len(n.Prefix()), n.Used()
	slots, leaf, fixed := n.slots(), n[4] == 0, innerCellBytes
	if leaf {
		fixed = leafCellBytes
	}
	at := NodeHeaderBytes + prefix + 2*count
	var last []byte
	for i := range count {
		if int(le.Uint16(slots[2*i:])) != at || at+fixed > used {
			return false
		}
		key := int(le.Uint16(n[at:]))
		from := at + fixed
		end := from + key
		if leaf {
			v := int(le.Uint16(n[at+2:]))
			if end += v &^ valueOutOfLine; v&valueOutOfLine != 0 && (end > used || CheckValueCell(Place{}, n[from+key:end]) != nil) {
				return false
			}
		}
		if key+prefix > KeyBytesMax || end > used {
			return false
		}
		suffix := n[from : from+key]
		if i > 0 && !ascends(last, suffix) {
			return false
		}
		last, at = suffix, end
	}
	return at == used && nonZero(n[at:]) < 0
}

// ascends tells whether a is before b.
func ascends(a, b []byte) bool {
	if len(a) >= 8 && len(b) >= 8 {
		if x, y := binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(b); x != y {
			return x < y
		}
	}
	return bytes.Compare(a, b) < 0
}
