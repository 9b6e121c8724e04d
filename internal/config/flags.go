package config

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/spf13/pflag"
)

// Flags are the flags that override the configuration file. See BindFlags.
type Flags struct {
	// Path is the file, from --config; empty for none.
	Path string

	values []*flagValue
}

// BindFlags adds --config and a flag for every key to a command.
func BindFlags(fs *pflag.FlagSet) *Flags {
	f := &Flags{}
	fs.StringVar(&f.Path, "config", "", "configuration `file`; other flags override it")
	defaults := Default()
	for _, field := range Fields() {
		v := &flagValue{field: field, text: fmt.Sprint(field.value(defaults).Interface())}
		f.values = append(f.values, v)
		flag := fs.VarPF(v, field.Flag, "", field.Help)
		if field.Type == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	return f
}

// Load is the defaults, overridden by the file, overridden by the flags, and checked.
func (f *Flags) Load() (*Config, error) {
	c := Default()
	source := ""
	if f.Path != "" {
		var err error
		if c, err = read(f.Path); err != nil {
			return nil, err
		}
		source = f.Path
	}
	if f.override(c) {
		source = ""
	}
	if err := invalid(source, c.problems()); err != nil {
		return nil, err
	}
	return c, nil
}

// WithoutFile is the defaults overridden by the flags, unchecked: for one who must go on
// when the file is not valid.
func (f *Flags) WithoutFile() *Config {
	c := Default()
	f.override(c)
	return c
}

// override reports whether any flag was given.
func (f *Flags) override(c *Config) (given bool) {
	for _, v := range f.values {
		if v.changed {
			v.apply(c)
			given = true
		}
	}
	return given
}

// flagValue is a pflag.Value that is kept until the file has been read.
type flagValue struct {
	field   Field
	text    string
	changed bool
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.field.Type }

func (v *flagValue) Set(s string) error {
	var scratch Config
	if err := setText(v.field.value(&scratch), s); err != nil {
		return err
	}
	v.text, v.changed = s, true
	return nil
}

// apply cannot fail: Set has parsed the text.
func (v *flagValue) apply(c *Config) { _ = setText(v.field.value(c), v.text) }

func setText(to reflect.Value, s string) error {
	switch to.Kind() {
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		to.SetInt(int64(n))
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		to.SetBool(b)
	default:
		to.SetString(s)
	}
	return nil
}
