package process

// A Description is what a module says of itself.
type Description struct {
	Kind    string // "consensus" or "storage"
	Version string // of the program
	// Contract is the version of what crosses between it and its node.
	Contract int
}

// Verify starts a module of that kind, asks it what it is, and ends it again: after that a
// node could use it.
func Verify(cfg Config, kind string) (Description, error) {
	cfg.OnDeath = nil
	m, err := start(cfg, kind)
	if err != nil {
		return Description{}, err
	}
	defer m.shut()
	d, err := m.describe()
	if err != nil {
		return Description{}, err
	}
	return Description{Kind: d.Kind, Version: d.Version, Contract: contractVersion}, nil
}
