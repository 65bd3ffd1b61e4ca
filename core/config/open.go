package config

// Open loads a configuration file, with other settings over it.
func Open(path string, over ...Settings) (*Config, error) { return OpenWith(path, Settings{}, over...) }

// OpenWith loads a configuration file, with properties under it and other
// settings over it. Without a path there is no file.
func OpenWith(path string, properties Settings, over ...Settings) (*Config, error) {
	var all Settings
	all.Merge(properties)
	text := ""
	if path != "" {
		file, raw, err := ReadFile(path)
		if err != nil {
			return nil, err
		}
		all.Merge(file)
		text = raw
	}
	for _, s := range over {
		all.Merge(s)
	}
	return load(all, path, text)
}
