package kubetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// request is a parsed path: /api/v1 or /apis/<group>/<version>, then
// [namespaces/<namespace>/]<resource>[/<name>[/<subresource>]].
type request struct {
	*http.Request
	group       schema.GroupVersion
	key         key
	subresource string
}

func parse(r *http.Request) (request, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	q := request{Request: r}
	switch {
	case len(parts) > 2 && parts[0] == "api":
		q.group.Version, parts = parts[1], parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		q.group, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return q, fmt.Errorf("path %s is not an API of this server", r.URL.Path)
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		q.key.namespace, parts = parts[1], parts[2:]
	}
	parts = append(parts, "", "")
	q.key.resource, q.key.name, q.subresource = parts[0], parts[1], parts[2]
	return q, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	intercept := s.intercept
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wakeUp()
	}()
	q, err := parse(r)
	if err != nil {
		answerError(w, r, apierrors.NewBadRequest(err.Error()))
		return
	}
	if intercept != nil {
		if status := intercept(r); status != nil {
			answer(w, q, int(status.Code), status)
			return
		}
	}
	if r.Method == http.MethodGet && r.URL.Query().Get("watch") != "" {
		s.watch(w, q)
		return
	}
	object, err := s.handle(q)
	if err != nil {
		answerError(w, r, err)
		return
	}
	answer(w, q, http.StatusOK, object)
}

func (s *Server) handle(q request) (runtime.Object, error) {
	body, err := io.ReadAll(bodyOf(q.Body))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Method == http.MethodGet && q.key.name == "" {
		return s.handleList(q)
	}
	if q.Method == http.MethodPost {
		return s.handleCreate(q, body)
	}
	old, ok := s.objects[q.key]
	if !ok {
		return nil, apierrors.NewNotFound(q.group.WithResource(q.key.resource).GroupResource(), q.key.name)
	}
	switch q.Method {
	case http.MethodGet:
		return old, nil
	case http.MethodDelete:
		s.remove(q.key)
		return old, nil
	case http.MethodPut:
		return s.handleUpdate(q, old, body)
	case http.MethodPatch:
		return s.handlePatch(q, old, body)
	}
	return nil, apierrors.NewMethodNotSupported(q.group.WithResource(q.key.resource).GroupResource(), q.Method)
}

func bodyOf(b io.ReadCloser) io.Reader {
	if b == nil {
		return strings.NewReader("")
	}
	return b
}

func (s *Server) handleList(q request) (runtime.Object, error) {
	match, err := q.selector()
	if err != nil {
		return nil, err
	}
	objects := s.list(q.key.resource, match)
	list, err := newList(q)
	if err != nil {
		return nil, err
	}
	if err := meta.SetList(list, objects); err != nil {
		return nil, err
	}
	if m, err := meta.ListAccessor(list); err == nil {
		m.SetResourceVersion(strconv.FormatInt(s.version, 10))
	}
	return list, nil
}

// newList makes an empty list object for the resource asked for.
func newList(q request) (runtime.Object, error) {
	for kind := range scheme.Scheme.KnownTypes(q.group) {
		resource, _ := meta.UnsafeGuessKindToResource(q.group.WithKind(kind))
		if resource.Resource == q.key.resource && scheme.Scheme.Recognizes(q.group.WithKind(kind+"List")) {
			list, err := scheme.Scheme.New(q.group.WithKind(kind + "List"))
			if err == nil {
				list.GetObjectKind().SetGroupVersionKind(q.group.WithKind(kind + "List"))
			}
			return list, err
		}
	}
	return nil, apierrors.NewBadRequest("no resource " + q.key.resource)
}

// selector is what the request's namespace, field and label selector let through.
func (q request) selector() (func(key, runtime.Object) bool, error) {
	selector, err := fields.ParseSelector(q.URL.Query().Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	byLabel, err := labels.Parse(q.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return func(k key, o runtime.Object) bool {
		if q.key.namespace != "" && k.namespace != q.key.namespace {
			return false
		}
		set := fields.Set{"metadata.name": k.name, "metadata.namespace": k.namespace}
		if pod, ok := o.(*corev1.Pod); ok {
			set["spec.nodeName"] = pod.Spec.NodeName
		}
		m, err := meta.Accessor(o)
		return err == nil && byLabel.Matches(labels.Set(m.GetLabels())) && selector.Matches(set)
	}, nil
}

func (s *Server) handleCreate(q request, body []byte) (runtime.Object, error) {
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	if m.GetName() == "" {
		m.SetName(fmt.Sprintf("%s%d", m.GetGenerateName(), s.version+1))
	}
	m.SetNamespace(q.key.namespace)
	q.key.name = m.GetName()
	if _, ok := s.objects[q.key]; ok {
		return nil, apierrors.NewAlreadyExists(q.group.WithResource(q.key.resource).GroupResource(), q.key.name)
	}
	s.set(q.key, o)
	return o, nil
}

func (s *Server) handleUpdate(q request, old runtime.Object, body []byte) (runtime.Object, error) {
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return nil, err
	}
	if v := m.GetResourceVersion(); v != "" && v != was.GetResourceVersion() {
		return nil, q.conflict("the object has been modified")
	}
	s.set(q.key, o)
	return o, nil
}

func (q request) conflict(why string) error {
	return apierrors.NewConflict(q.group.WithResource(q.key.resource).GroupResource(), q.key.name, errors.New(why))
}

func (s *Server) handlePatch(q request, old runtime.Object, body []byte) (runtime.Object, error) {
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	var after []byte
	switch types.PatchType(q.Header.Get("Content-Type")) {
	case types.MergePatchType:
		after, err = mergePatch(before, body)
	case types.StrategicMergePatchType:
		after, err = strategicpatch.StrategicMergePatch(before, body, old)
	default:
		return nil, apierrors.NewBadRequest("no such patch type here: " + q.Header.Get("Content-Type"))
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	after, err = keepOtherHalf(before, after, q.subresource)
	if err != nil {
		return nil, err
	}
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(after, nil, nil)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return nil, err
	}
	if m.GetUID() != was.GetUID() {
		return nil, q.conflict("Precondition failed: UID in precondition: " + string(m.GetUID()) + ", UID in object meta: " + string(was.GetUID()))
	}
	if m.GetResourceVersion() != was.GetResourceVersion() {
		return nil, q.conflict("the object has been modified")
	}
	if string(after) == string(before) {
		return old, nil // as a real server: no write, no event
	}
	s.set(q.key, o)
	return o, nil
}

// keepOtherHalf undoes what a patch may not touch: the status without the status
// subresource, the spec with it.
func keepOtherHalf(before, after []byte, subresource string) ([]byte, error) {
	var b, a map[string]any
	if err := errors.Join(json.Unmarshal(before, &b), json.Unmarshal(after, &a)); err != nil {
		return nil, err
	}
	keep := "status"
	if subresource == "status" {
		keep = "spec"
	}
	a[keep] = b[keep]
	canonicalBefore, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	canonicalAfter, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if string(canonicalBefore) == string(canonicalAfter) {
		return before, nil
	}
	return canonicalAfter, nil
}

// mergePatch is RFC 7386.
func mergePatch(before, patch []byte) ([]byte, error) {
	var b, p any
	if err := errors.Join(json.Unmarshal(before, &b), json.Unmarshal(patch, &p)); err != nil {
		return nil, err
	}
	return json.Marshal(merge(b, p))
}

func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if p[k] == nil {
			delete(t, k)
		} else {
			t[k] = merge(t[k], p[k])
		}
	}
	return t
}

// statusOf is the Status object for an error.
func statusOf(err error) *metav1.Status {
	if s := apierrors.APIStatus(nil); errors.As(err, &s) {
		status := s.Status()
		return &status
	}
	status := apierrors.NewInternalError(err).Status()
	return &status
}
