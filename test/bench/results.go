//go:build linux

package main

import (
	"slices"
	"time"
)

// Results is the whole report, as written to the JSON file. Times are milliseconds.
type Results struct {
	Machine    Machine              `json:"machine"`
	Single     []Single             `json:"single"`
	Bursts     []Burst              `json:"bursts"`
	Shim       Shim                 `json:"shim"`
	Idle       []process            `json:"idle"`
	Full       []process            `json:"full"`
	FullPods   int                  `json:"fullPods"`
	Controller []process            `json:"controller"`
	Restart    *Restart             `json:"restart,omitempty"`
	Programs   map[string]Benchmark `json:"programs"`
	Services   []*Services          `json:"services,omitempty"`
}

// Machine says where the figures come from.
type Machine struct {
	When     string `json:"when"`
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemGiB   int    `json:"memoryGiB"`
	Kernel   string `json:"kernel"`
	Load     string `json:"load"` // averages at the start and the end
	Version  string `json:"version"`
	Versions string `json:"versions"` // of Open vSwitch and OVN
	Node     string `json:"node"`
}

// Stat are percentiles in milliseconds.
type Stat struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

// Single is ADD and DEL one at a time, beside the floor.
type Single struct {
	Pods        int             `json:"pods"`       // on the node meanwhile
	Add         Stat            `json:"add"`        // of pods that the node knows
	AddAtOnce   Stat            `json:"addAtOnce"`  // sent when the API server has answered
	Floor       Stat            `json:"floor"`      // veth by netlink
	FloorKnown  Stat            `json:"floorKnown"` // the same with the row there already
	FloorIP     Stat            `json:"floorIP"`    // veth by the ip command
	Del         Stat            `json:"del"`
	Stages      map[string]Stat `json:"stages"`
	StagesOnce  map[string]Stat `json:"stagesAtOnce"`
	FloorStages map[string]Stat `json:"floorStages"`
	Costs       Costs           `json:"costs"`
}

// Burst is many ADDs at the same time, beside the floor.
type Burst struct {
	Pods       int                `json:"pods"`
	Installed  float64            `json:"installed"`  // when the last was installed
	Floor      float64            `json:"floor"`      // the floor with nothing prepared
	FloorKnown float64            `json:"floorKnown"` // the floor with the rows there already
	Add        Stat               `json:"add"`
	FloorAdd   Stat               `json:"floorAdd"`
	Deleted    float64            `json:"deleted"`
	Failed     []string           `json:"failed"`
	StageMeans map[string]float64 `json:"stageMeans"`
	Costs      Costs              `json:"costs"`
}

// Costs is what pods cost beside time. Transactions and CPU are per pod that came (and,
// for the Del fields, went).
type Costs struct {
	NBPerAdd, OVSPerAdd, SBPerAdd float64
	NBPerDel, OVSPerDel           float64
	ChildFaults                   int64              // of the node's program; 0: it ran no command
	CPUPerPod                     map[string]float64 // ms, by process; ADD with creation of the pod
}

// Shim is the CNI plugin's binary.
type Shim struct {
	CPU       Stat    `json:"cpu"`
	Wall      Stat    `json:"wall"`
	MaxRSSMiB float64 `json:"maxRSSMiB"`
	SizeMiB   float64 `json:"sizeMiB"`
}

// Restart is a restart of the node's program.
type Restart struct {
	Pods         int                `json:"pods"`
	Services     int                `json:"services"`
	Ready        float64            `json:"ready"`
	Transactions map[string]float64 `json:"transactions"`
}

// Services are the measurements of services in one sandbox.
type Services struct {
	Machine Machine          `json:"machine"`
	Nodes   int              `json:"nodes"` // of the sandbox
	Changes []EndpointChange `json:"changes"`
	Crowd   *Crowd           `json:"crowd,omitempty"`
}

// EndpointChange is how long changes of an end point take with that many services.
type EndpointChange struct {
	Services     int            `json:"services"`
	Clients      []ClientChange `json:"clients"`
	Transactions float64        `json:"transactions"` // of the node's program, per change
}

// ClientChange is what one client sees: of our changes, and of the floors'.
type ClientChange struct {
	Client  string `json:"client"`
	Ours    Change `json:"ours"`
	Raw     Change `json:"raw"`     // one JSON-RPC request
	Command Change `json:"command"` // ovn-nbctl --wait=hv
	// Everywhere is the same on all nodes of the sandbox at once.
	Everywhere Change `json:"everywhere,omitzero"`
}

// Change is the time from the change until a connection reaches the new backend, until
// whoever made it was told that it is made, and until the row is in the Northbound database.
type Change struct {
	Answered Stat `json:"answered"`
	Told     Stat `json:"told"`
	Row      Stat `json:"row"`
	Asked    int  `json:"asked"` // connections between change and answer
	Lost     int  `json:"lost"`  // of them, without any answer
}

// Crowd is what many services cost.
type Crowd struct {
	Services    int                `json:"services"`
	Endpoints   int                `json:"endpoints"` // of each
	Created     float64            `json:"created"`   // when the API server had all
	Rows        float64            `json:"rows"`      // when the Northbound database had all
	Installed   float64            `json:"installed"` // when Open vSwitch had all
	Deleted     float64            `json:"deleted"`   // when Open vSwitch had none any more
	Before      Sizes              `json:"before"`
	With        Sizes              `json:"with"`
	CPU         map[string]float64 `json:"cpu"` // ms, by process, until installed
	Idle, Full  []process
	Restart     *Restart    `json:"restart"`
	AfterStart  []process   `json:"afterStart"` // the node's program after its restart
	NodePorts   []NodePorts `json:"nodePorts"`
	Transacted  float64     `json:"transacted"` // transactions in the Northbound database
	DeleteCalls float64     `json:"deleteCalls"`
}

// Sizes are how much there is.
type Sizes struct {
	NB     int `json:"nb"` // rows of the node's program
	SB     int `json:"sb"` // logical flows
	Flows  int `json:"flows"`
	Bridge int `json:"bridge"` // flows of the external bridge
}

// NodePorts is what services with a node port cost that appear one after another.
type NodePorts struct {
	Before   int                `json:"before"` // how many there were
	Added    int                `json:"added"`
	Each     float64            `json:"each"`     // ms from one to the next, by the API
	CPU      map[string]float64 `json:"cpu"`      // ms per service, by process
	Children float64            `json:"children"` // ms per service, of commands of the node's program
	Served   float64            `json:"served"`   // ms from creating one more until it answers
}

// Benchmark are the metrics of one Go benchmark.
type Benchmark map[string]float64

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func stat(took []time.Duration) Stat {
	if len(took) == 0 {
		return Stat{}
	}
	sorted := slices.Sorted(slices.Values(took))
	at := func(p int) float64 { return millis(sorted[(len(sorted)-1)*p/100]) }
	return Stat{N: len(sorted), P50: at(50), P90: at(90), P99: at(99)}
}

// samples collects durations by name.
type samples map[string][]time.Duration

func (s samples) add(one map[string]time.Duration) {
	for name, d := range one {
		s[name] = append(s[name], d)
	}
}

func (s samples) stats() map[string]Stat {
	out := map[string]Stat{}
	for name, took := range s {
		out[name] = stat(took)
	}
	return out
}
