package kubetest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// wireFormat is the first acceptable one, JSON if the request does not say.
func wireFormat(r *http.Request) runtime.SerializerInfo {
	for accept := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		mediaType, _, _ := strings.Cut(strings.TrimSpace(accept), ";")
		if info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), mediaType); ok && info.StreamSerializer != nil {
			return info
		}
	}
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	return info
}

func answer(w http.ResponseWriter, q request, code int, o runtime.Object) {
	info := wireFormat(q.Request)
	o = withKind(o)
	// The serializer itself rather than a codec, which would write the kind into objects
	// that other requests read at the same time; they have theirs from Server.set.
	var b bytes.Buffer
	if err := info.Serializer.Encode(o, &b); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", info.MediaType)
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes())
}

// withKind gives a Status its kind, which errors leave out; other objects have theirs.
func withKind(o runtime.Object) runtime.Object {
	status, ok := o.(*metav1.Status)
	if !ok {
		return o
	}
	status = status.DeepCopy() // a test may answer with the same one again
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return status
}

func answerError(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	answer(w, request{Request: r}, int(status.Code), status)
}

// watch streams what happens to the objects asked for until the client goes, the server
// hangs up, or the history is lost.
func (s *Server) watch(w http.ResponseWriter, q request) {
	match, err := q.selector()
	if err != nil {
		answerError(w, q.Request, err)
		return
	}
	stream := newStream(w, q)
	s.mu.Lock()
	initial, from, err := s.watchFrom(q, match)
	hangUp := s.hangUp
	s.mu.Unlock()
	if err != nil {
		answerError(w, q.Request, err)
		return
	}
	w.Header().Set("Content-Type", stream.info.MediaType+";stream=watch")
	w.WriteHeader(http.StatusOK)
	for _, e := range initial {
		if !stream.send(e) {
			return
		}
	}
	for {
		s.mu.Lock()
		wake := s.wake
		var news []watch.Event
		if from < s.compacted {
			status := apierrors.NewResourceExpired("too old resource version").Status()
			news = []watch.Event{{Type: watch.Error, Object: &status}}
		} else {
			news, from = s.since(from, q.key.resource, match)
		}
		s.mu.Unlock()
		for _, e := range news {
			if !stream.send(e) || e.Type == watch.Error {
				return
			}
		}
		select {
		case <-wake:
		case <-hangUp:
			return
		case <-q.Context().Done():
			return
		}
	}
}

// watchFrom is what a watch sends first, and the version after which it goes on. The
// lock is held.
func (s *Server) watchFrom(q request, match func(key, runtime.Object) bool) (initial []watch.Event, from int64, err error) {
	query := q.URL.Query()
	streaming := query.Get("sendInitialEvents") == "true"
	if streaming && s.noStream {
		return nil, 0, apierrors.NewBadRequest("sendInitialEvents is forbidden for watch")
	}
	if v := query.Get("resourceVersion"); v != "" && v != "0" && !streaming {
		from, err = strconv.ParseInt(v, 10, 64)
		if err == nil && from < s.compacted {
			err = apierrors.NewResourceExpired("too old resource version")
		}
		return nil, from, err
	}
	for _, o := range s.list(q.key.resource, match) {
		initial = append(initial, watch.Event{Type: watch.Added, Object: o})
	}
	if streaming {
		end, err := newBookmark(q, s.version)
		if err != nil {
			return nil, 0, err
		}
		initial = append(initial, watch.Event{Type: watch.Bookmark, Object: end})
	}
	return initial, s.version, nil
}

// newBookmark is the object that ends the initial events of a streaming list.
func newBookmark(q request, version int64) (runtime.Object, error) {
	list, err := newList(q)
	if err != nil {
		return nil, err
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(list)
	if err != nil {
		return nil, err
	}
	kind := q.group.WithKind(strings.TrimSuffix(kinds[0].Kind, "List"))
	o, err := scheme.Scheme.New(kind)
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(kind)
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion(strconv.FormatInt(version, 10))
	m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	return o, nil
}

// since are the events after a version, as a watch with a selector has them: an object that
// begins to match is added, one that no longer does is deleted. The lock is held.
func (s *Server) since(from int64, resource string, match func(key, runtime.Object) bool) ([]watch.Event, int64) {
	var news []watch.Event
	for i := len(s.log) - 1; i >= 0 && s.log[i].version > from; i-- {
		if e := s.log[i]; e.key.resource == resource {
			if seen := e.seenBy(match); seen.Type != "" {
				news = append(news, seen)
			}
		}
	}
	for i, j := 0, len(news)-1; i < j; i, j = i+1, j-1 {
		news[i], news[j] = news[j], news[i]
	}
	return news, s.version
}

// seenBy is the event as a watch with a selector has it; without a type if it has not.
func (e event) seenBy(match func(key, runtime.Object) bool) watch.Event {
	is := match(e.key, e.object)
	was := e.old != nil && match(e.key, e.old)
	switch {
	case e.kind == watch.Deleted && was:
		return watch.Event{Type: watch.Deleted, Object: e.object}
	case e.kind == watch.Deleted:
		return watch.Event{}
	case is && was:
		return watch.Event{Type: watch.Modified, Object: e.object}
	case is:
		return watch.Event{Type: watch.Added, Object: e.object}
	case was: // as it was when it still matched, in the version of the change
		o := e.old.DeepCopyObject()
		if m, err := meta.Accessor(o); err == nil {
			m.SetResourceVersion(strconv.FormatInt(e.version, 10))
		}
		return watch.Event{Type: watch.Deleted, Object: o}
	}
	return watch.Event{}
}

// stream writes watch events in one wire format.
type stream struct {
	info   runtime.SerializerInfo
	frames streaming.Encoder
	flush  func()
}

func newStream(w http.ResponseWriter, q request) *stream {
	info := wireFormat(q.Request)
	s := &stream{
		info:   info,
		frames: streaming.NewEncoder(info.StreamSerializer.Framer.NewFrameWriter(w), info.StreamSerializer.Serializer),
		flush:  func() {},
	}
	if f, ok := w.(http.Flusher); ok {
		s.flush = f.Flush
	}
	return s
}

func (s *stream) send(e watch.Event) bool {
	var raw bytes.Buffer
	if err := s.info.Serializer.Encode(withKind(e.Object), &raw); err != nil {
		return false
	}
	err := s.frames.Encode(&metav1.WatchEvent{Type: string(e.Type), Object: runtime.RawExtension{Raw: raw.Bytes()}})
	s.flush()
	return err == nil
}

// RoundTrip answers a request without a socket.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	out, in := io.Pipe()
	w := &pipeWriter{header: http.Header{}, started: make(chan struct{}), in: in}
	go func() {
		defer cancel()
		s.ServeHTTP(w, r.WithContext(ctx))
		w.WriteHeader(http.StatusOK)
		_ = in.Close()
	}()
	select {
	case <-w.started:
	case <-r.Context().Done():
		cancel()
		_ = out.Close()
		return nil, r.Context().Err()
	}
	stop := context.AfterFunc(r.Context(), func() { _ = out.CloseWithError(context.Cause(r.Context())) })
	return &http.Response{
		Status:     http.StatusText(w.code),
		StatusCode: w.code,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        w.header.Clone(),
		Body:          &pipeBody{out, func() { stop(); cancel() }},
		ContentLength: -1,
		Request:       r,
	}, nil
}

// pipeWriter is a ResponseWriter into a pipe.
type pipeWriter struct {
	header  http.Header
	code    int
	started chan struct{}
	in      *io.PipeWriter
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
		close(w.started)
	}
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.in.Write(b)
}

// pipeBody ends the handler when the client closes it.
type pipeBody struct {
	*io.PipeReader
	closed func()
}

func (b *pipeBody) Close() error {
	b.closed()
	return b.PipeReader.Close()
}
