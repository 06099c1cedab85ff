package sim

// SectorBytes is the unit that a device writes whole: a power cut leaves each sector old or new, never mixed.
const SectorBytes = 512

const pageBytes = 4096

// token identifies the image that may write a page in place.
type token struct{ _ byte }

type page struct {
	owner *token
	data  [pageBytes]byte
}

// image is sparse content of a device. Clones share pages until one side writes (copy on write), so that keeping
// the state of a disk at each of a thousand power cuts costs the pages in which they differ.
type image struct {
	owner *token // pages with another owner are shared: copy before writing
	pages []*page
	bytes int64
}

func newImage(bytes int64) *image {
	if bytes <= 0 || bytes%pageBytes != 0 {
		panic("sim: size of a disk is not a multiple of 4 KiB")
	}
	return &image{owner: new(token), pages: make([]*page, bytes/pageBytes), bytes: bytes}
}

// clone gives an independent copy; both sides lose the right to write the pages they now share.
func (m *image) clone() *image {
	m.owner = new(token)
	c := &image{owner: new(token), pages: make([]*page, len(m.pages)), bytes: m.bytes}
	copy(c.pages, m.pages)
	return c
}

func (m *image) writable(i int64) *page {
	p := m.pages[i]
	if p == nil {
		p = &page{owner: m.owner}
		m.pages[i] = p
		return p
	}
	if p.owner != m.owner {
		p = &page{owner: m.owner, data: p.data}
		m.pages[i] = p
	}
	return p
}

// read copies [off, off+len(dst)) out; pages never written are zero.
func (m *image) read(dst []byte, off int64) {
	for len(dst) > 0 {
		i, in := off/pageBytes, off%pageBytes
		n := min(int64(len(dst)), pageBytes-in)
		if p := m.pages[i]; p != nil {
			copy(dst[:n], p.data[in:])
		} else {
			clear(dst[:n])
		}
		dst, off = dst[n:], off+n
	}
}

func (m *image) write(src []byte, off int64) {
	for len(src) > 0 {
		i, in := off/pageBytes, off%pageBytes
		n := copy(m.writable(i).data[in:], src)
		src, off = src[n:], off+int64(n)
	}
}

// zero is what a punched range reads as.
func (m *image) zero(off, n int64) {
	for n > 0 {
		i, in := off/pageBytes, off%pageBytes
		k := min(n, pageBytes-in)
		if k == pageBytes {
			m.pages[i] = nil
		} else if m.pages[i] != nil {
			clear(m.writable(i).data[in : in+k])
		}
		off, n = off+k, n-k
	}
}
