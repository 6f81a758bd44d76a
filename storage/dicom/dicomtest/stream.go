package dicomtest

import "io"

// Size is the length in bytes of what Reader yields.
func (i Instance) Size() int64 {
	head := i.attributes().Len() + len(i.pixelHeader())
	return int64(head) + int64(i.frameLength())*int64(max(i.opts.Frames, 1))
}

// Reader yields the Data Set of a native instance, the same bytes as DataSet,
// one frame in memory at a time: 6,000 frames of 512 KB are 3 GB. It is nil for
// encapsulated and deflated transfer syntaxes.
func (i Instance) Reader() io.Reader {
	switch i.TransferSyntaxUID {
	case ImplicitLE, ExplicitLE, ExplicitBE:
		head := append(i.attributes().b, i.pixelHeader()...)
		return &frameReader{instance: i, rest: head, frame: -1, pixels: make([]byte, 0, i.frameLength())}
	}
	return nil
}

func (i Instance) pixelHeader() []byte {
	b := Builder{Implicit: i.TransferSyntaxUID == ImplicitLE, Big: i.TransferSyntaxUID == ExplicitBE}
	return b.Header(PixelData, "OW", uint32(i.frameLength()*max(i.opts.Frames, 1))).b
}

type frameReader struct {
	instance Instance
	rest     []byte
	frame    int
	pixels   []byte
}

func (r *frameReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		r.frame++
		if r.frame >= max(r.instance.opts.Frames, 1) {
			return 0, io.EOF
		}
		r.pixels = r.instance.appendFrame(r.pixels[:0], r.frame)
		r.rest = r.pixels
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
