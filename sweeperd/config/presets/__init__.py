"""Tables of known applications: one TOML file a project, and what reads them."""
