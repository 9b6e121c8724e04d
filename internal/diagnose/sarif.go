package diagnose

import (
	"io"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// The parts of SARIF 2.1.0 (OASIS) that are used.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID            string    `json:"id"`
		Short         sarifText `json:"shortDescription"`
		Full          sarifText `json:"fullDescription"`
		Help          sarifText `json:"help"`
		Configuration struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		Logical []sarifLogical `json:"logicalLocations"`
	}
	sarifLogical struct {
		Name string `json:"name"`
		Full string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
)

// levels are SARIF's words for severities.
var levels = map[Severity]string{Info: "note", Warning: "warning", Error: "error"}

// sarif writes the checks as rules and the findings as their results. Objects of a cluster
// have no file: their locations are logical.
func (r *Report) sarif(w io.Writer) error {
	run := sarifRun{Tool: sarifTool{Driver: sarifDriver{Name: "ovnkctl", Version: version.Version}}, Results: []sarifResult{}}
	for _, code := range r.Checks {
		check, _ := Find(code)
		rule := sarifRule{ID: code, Short: sarifText{check.Title}, Full: sarifText{check.Meaning}, Help: sarifText{check.Remedy}}
		rule.Configuration.Level = levels[check.Severity]
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		result := sarifResult{RuleID: f.Code, Level: levels[f.Severity], Message: sarifText{f.Message + "\n" + f.details()}}
		var at []sarifLogical
		if f.Object != nil {
			at = append(at, sarifLogical{f.Object.Name, f.Object.String(), "resource"})
		}
		if f.Node != "" && (f.Object == nil || *f.Object != *nodeObject(f.Node)) {
			at = append(at, sarifLogical{f.Node, nodeObject(f.Node).String(), "resource"})
		}
		if at != nil {
			result.Locations = []sarifLocation{{at}}
		}
		run.Results = append(run.Results, result)
	}
	return output.JSON(w, sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}
